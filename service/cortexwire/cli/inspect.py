"""`inspect`: what a session, a bundle or a run directory is, in a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cortexwire.cli import options
from cortexwire.cli.console import budgets_in_words, show_json, show_rows, show_table
from cortexwire.cli.help import examples
from cortexwire.cli.sources import open_bundle, open_source
from cortexwire.errors import ConfigError

if TYPE_CHECKING:
    from cortexwire.decoders import Bundle
    from cortexwire.decoders.manifest import InputSpec, OutputSpec
    from cortexwire.sessions.session import Session


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        rich_help_panel=options.LEARN,
        epilog=examples(
            "cortexwire inspect docs/sessions/contdata95.toml",
            "cortexwire inspect reference",
            "cortexwire inspect sim:channels=96,seconds=60",
        ),
    )(inspect)


def inspect(
    what: Annotated[
        str,
        typer.Argument(
            metavar="X",
            help="A session (session.toml, folder of wav files, sim:...), a bundle, or an engine's run directory.",
            show_default=False,
        ),
    ],
    data: options.DataFolder = None,
    json: options.Json = False,
) -> None:
    """Describe a session, a bundle or a running engine; a damaged one is an error."""
    from cortexwire.sessions.log import is_log

    path = Path(what)
    if what == "reference" or (path / "manifest.json").is_file():
        bundle = open_bundle(path)
        if json:
            show_json({"kind": "bundle", "sha256": bundle.sha256, "manifest": bundle.manifest})
        else:
            _show_bundle(bundle)
    elif (path / "telemetry.map").is_file():
        state = _state(path)
        show_json({"kind": "engine", **state}) if json else show_rows(_plain_state(state), f"engine in {path}")
    elif path.exists() or is_log(what) or what.partition(":")[0] == "sim":
        session = open_source(what, data)
        rows = _session_rows(session)
        show_json({"kind": "session", **rows}) if json else show_rows(_in_words(rows), session.name)
    else:
        raise ConfigError(f"{what}: expected a session, a bundle or a run directory; there is nothing of that name")


def _session_rows(session: "Session") -> dict[str, Any]:
    electrodes = session.descriptor.electrodes
    return {
        "signal": session.kind,
        "channels": session.n_channels,
        "rate_hz": session.rate.hz,
        "seconds": session.n_samples / session.rate.hz,
        "samples": session.n_samples,
        "uv_per_bit": session.uv_per_bit,
        "reference": session.descriptor.reference,
        "electrodes": [electrode.id for electrode in electrodes],
        "banks": len({electrode.bank for electrode in electrodes}),
        "columns": list(session.column_names),
        "trials": len(session.trials),
        "problems": list(session.problems),
    }


def _in_words(rows: dict[str, Any]) -> dict[str, Any]:
    electrodes = rows["electrodes"]
    few = f"{electrodes[0]} ... {electrodes[-1]} in {rows['banks']} bank(s)" if electrodes else "no identities"
    return {
        "signal": f"{rows['signal']}, {rows['channels']} channels at {rows['rate_hz']:g} Hz",
        "length": f"{rows['seconds']:.3f} s ({rows['samples']} samples)",
        "scale": f"{rows['uv_per_bit']:g} uV per bit, measured against {rows['reference'] or 'what is not stated'}",
        "electrodes": few,
        "columns": ", ".join(rows["columns"]) or "none",
        "trials": rows["trials"] or "none",
    }


def _show_bundle(bundle: "Bundle") -> None:
    manifest = bundle.manifest
    stream, training = manifest.stream, manifest.training
    named = "named" if stream.electrodes else "without identities"
    show_rows(
        {
            "family": manifest.family,
            "hash": f"{bundle.hash:016x}",
            "stream": f"{stream.kind}, {stream.n_channels} channels {named}, {stream.rate_num / stream.rate_den:g} Hz",
            "bins": f"{stream.bin_ms:g} ms of {' and '.join(manifest.features.content)}",
            "output": _cadence(bundle),
            **{spec.role: _described(spec) for spec in manifest.outputs if spec.role != "state"},
            "memory": f"{manifest.memory_bins} bins, of which {manifest.warm_up_bins} to warm up",
            "trained on": ", ".join(training.sessions) or "nothing",
            "scores": _scores(training.scores),
            "made by": ", ".join(f"{name} {version}" for name, version in manifest.created_by.items()),
            **({"command": training.settings["command"]} if "command" in training.settings else {}),
        },
        manifest.name,
    )
    specs: list[InputSpec | OutputSpec] = [*manifest.inputs, *manifest.outputs]
    rows = [(spec.name, spec.role, spec.dtype, "x".join(map(str, spec.shape))) for spec in specs]
    show_table(("tensor", "role", "dtype", "shape"), rows)


def _cadence(bundle: "Bundle") -> str:
    """How often it speaks."""
    from cortexwire.decoders.hop import hop_of

    hop, bin_ms = hop_of(bundle.manifest), bundle.manifest.stream.bin_ms
    if hop.parts == 1:
        return f"every {bin_ms:g} ms"
    how = f"{hop.states} states in turn, each stepped once a bin" if hop.interleaved else "one state stepped every hop"
    return f"every {hop.ms(bin_ms):g} ms by {how}"


def _described(spec: "OutputSpec") -> str:
    names = ", ".join(spec.columns) or spec.name
    return f"{names} in {spec.unit}" if spec.unit else names


def _scores(scores: dict[str, Any]) -> str:
    found = {f"R2 {name}": value for name, value in scores.get("r2_held_out", {}).items()}
    found |= {name.replace("_", " "): value for name, value in scores.get("held_out", {}).items()}
    return ", ".join(f"{name} {value:.3f}" for name, value in found.items()) or "none"


def _state(run_dir: Path) -> dict[str, Any]:
    from cortexwire.runtime.control import describe_state
    from cortexwire.runtime.telemetry import TelemetryReader

    with TelemetryReader(run_dir / "telemetry.map") as reader:
        return describe_state(reader.read())


def _plain_state(state: dict[str, Any]) -> dict[str, Any]:
    counters = ", ".join(f"{name} {count}" for name, count in state["counters"].items() if count)
    kept = {name: value for name, value in state.items() if not isinstance(value, dict | list)}
    return {**kept, "budgets": budgets_in_words(state["budgets"]), "counters": counters or "all zero"}
