"""`inspect`: what a session, a bundle or a run directory is, in a table or a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cortexwire.cli import options
from cortexwire.cli.console import budgets_in_words, progress, show_json, show_rows, show_table
from cortexwire.cli.contents import Contents, check_picture, look_into, write_picture
from cortexwire.cli.help import examples
from cortexwire.cli.sources import open_bundle, open_source
from cortexwire.errors import ConfigError

if TYPE_CHECKING:
    from cortexwire.decoders import Bundle
    from cortexwire.decoders.manifest import InputSpec, OutputSpec


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        rich_help_panel=options.LEARN,
        epilog=examples(
            "cortexwire inspect docs/sessions/contdata95.toml",
            "cortexwire inspect recordings/monday.ns5 --picture monday.svg",
            "cortexwire inspect 'recordings/run_g0#imec0.ap' --picture run.html --from 60",
            "cortexwire inspect reference",
            "cortexwire inspect sim:channels=96,seconds=60",
        ),
    )(inspect)


def inspect(
    what: Annotated[
        str,
        typer.Argument(
            metavar="X",
            help="A session (a recording, a session.toml, sim:...), a bundle, or an engine's run directory.",
            show_default=False,
        ),
    ],
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Draw a session into a file: .svg, .html, or .png (which takes a Chromium).", show_default=False
        ),
    ] = None,
    start_s: Annotated[float, typer.Option("--from", help="Where the picture begins, in seconds.", min=0.0)] = 0.0,
    data: options.DataFolder = None,
    json: options.Json = False,
) -> None:
    """Describe a session, a bundle or a running engine; a damaged one is an error.

    The picture shows the whole of a recording with its gaps and trials, ten seconds of spikes and kinematics, and one
    second of voltage.
    """
    path = Path(what)
    if picture is not None:
        check_picture(picture)
    if what == "reference" or (path / "manifest.json").is_file():
        bundle = open_bundle(path)
        if json:
            show_json({"kind": "bundle", "sha256": bundle.sha256, "manifest": bundle.manifest})
        else:
            _show_bundle(bundle)
    elif (path / "telemetry.map").is_file():
        state = _state(path)
        show_json({"kind": "engine", **state}) if json else show_rows(_plain_state(state), f"engine in {path}")
    elif path.is_dir() and (not any(path.iterdir()) or (path / "engine.lock").is_file()):
        raise ConfigError(f"{what}: no engine runs in {path.absolute()}, and nothing else is in it")
    else:
        with progress("reading") as share:
            session = open_source(what, data)
            found = look_into(session, what)
            if picture is not None:
                write_picture(picture, session, found, start_s, share)
        show_json({"kind": "session", **found.rows()}) if json else _show_session(found)


def _show_session(found: "Contents") -> None:
    rows = found.rows()
    electrodes = rows["electrodes"]
    few = f"{electrodes[0]} ... {electrodes[-1]} in {rows['banks']} bank(s)" if electrodes else "no identities"
    units = rows["units"]
    show_rows(
        {
            "format": rows["format"],
            "signal": f"{rows['signal']}, {rows['channels']} channels at {rows['rate_hz']:g} Hz",
            **({"events": f"{rows['events']} of {units} unit(s)"} if units is not None else {}),
            "length": f"{rows['seconds']:.3f} s ({rows['samples']} samples)",
            "scale": f"{rows['uv_per_bit']:g} uV per bit, measured against {rows['reference'] or 'what is not stated'}",
            "electrodes": few,
            "columns": ", ".join(f"{name} ({unit})" if unit else name for name, unit in rows["columns"].items())
            or "none",
            "trials": rows["trials"] or "none",
            **({"marks": ", ".join(f"{n} {name}" for name, n in rows["marks"].items())} if rows["marks"] else {}),
        },
        found.session.name,
    )
    if len(rows["streams"]) > 1 or rows["stretches"] > 1:
        names = ("stream", "signal", "unit", "channels", "rate", "length", "stretches")
        show_table(names, [_stream_row(stream) for stream in rows["streams"]], left=3)


def _stream_row(stream: dict[str, Any]) -> tuple[str, ...]:
    rate, length = f"{stream['rate_hz']:g} Hz", f"{stream['seconds']:.3f} s"
    return (
        stream["name"],
        stream["signal"],
        stream["unit"],
        str(stream["channels"]),
        rate,
        length,
        str(stream["stretches"]),
    )


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
