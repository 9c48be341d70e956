"""`decode LOG --against recorded`: what came of decoding a log again, in words and as JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from cortexwire.cli.console import note, progress, show_json, show_rows, show_table
from cortexwire.errors import ConfigError

if TYPE_CHECKING:
    from cortexwire.runtime.against import Agreement

INTERRUPTED: Final = 130
"""As a shell says it of what SIGINT ended."""
_HASH_DIGITS: Final = 16


def decode_against(source: str, bundle: Path | None, json: bool) -> None:
    """Compare, say what was found, and exit: 0 when all that can be reproduced agrees, 1 when not, 130 at Ctrl-C.

    Raises:
        ConfigError: The source is no log.
        SessionError: The log cannot be opened.
    """
    import time

    from cortexwire.runtime.against import compare_log
    from cortexwire.runtime.engine import stop_on_signals
    from cortexwire.runtime.shipped import bundle_folder
    from cortexwire.sessions.log import is_log, log_folder, open_log

    folder, number = log_folder(source)
    if not is_log(source) or number is not None:
        raise ConfigError(f"--against recorded: expected the folder of a log, got {source}")
    began = time.monotonic()
    with stop_on_signals() as stop, progress("decoding again") as share:
        given = None if bundle is None else bundle_folder(bundle)
        found = compare_log(open_log(folder), given, stop=stop, progress=share)
    took_s = time.monotonic() - began
    if json:
        show_json(as_json(found) | {"took_s": took_s})
    else:
        _show(found, folder, took_s)
    raise typer.Exit(INTERRUPTED if found.stopped else 0 if found.passed else 1)


def as_json(found: "Agreement") -> dict[str, Any]:
    """All of it as plain values."""
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(found)
    return {"passed": found.passed, "different": found.different, **plain}


def _show(found: "Agreement", folder: Path, took_s: float) -> None:
    rows = {
        "inputs": f"{found.packets} packets, {found.ticks} ticks, {found.commands} commands",
        "outputs": f"{found.equal} of {found.compared} equal bit for bit, times aside",
        "bundle": ", ".join(f"{sha256[:_HASH_DIGITS]} from {path}" for sha256, path in found.bundles.items()) or "none",
        "time": f"{took_s:.2f} s",
    }
    if found.missing or found.extra:
        rows["messages"] = f"{found.missing} given here and not recorded, {found.extra} recorded and not given here"
    if found.answers:
        rows["commands"] = f"{found.answers} with another effect than recorded"
    if found.unrecorded:
        rows["not recorded"] = f"{found.unrecorded} outputs: the log, or its engine, ended before them"
    if found.max_abs:
        rows["largest difference"] = ", ".join(f"{name} {most:g}" for name, most in found.max_abs.items())
    show_rows(rows, f"{folder.name}: decoded again")
    for recorded, here in found.fingerprints:
        note("recorded under another fingerprint, within which alone outputs are promised to be equal bit for bit:")
        note(f"  recorded {recorded}")
        note(f"  here     {here}")
    for stretch in found.stretches:
        if not stretch.reproducible:
            counts = f"counts of {stretch.counts_equal} bins equal, of {stretch.counts_different} different"
            rest = f", {stretch.unmatched} outputs not compared" if stretch.unmatched else ""
            note(f"not reproducible: records {stretch.first} to {stretch.last}: {stretch.why}")
            note(f"  {stretch.outputs} outputs, {counts}{rest}")
    if found.differences:
        shown = [
            (str(each.index), str(each.bin), each.field, each.recorded, each.here, _number(each.max_abs))
            for each in found.differences
        ]
        show_table(("record", "bin", "field", "recorded", "here", "apart"), shown)
        if (more := found.different - len({each.index for each in found.differences})) > 0:
            note(f"and {more} more")
    if found.stopped:
        note("stopped before the end")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
