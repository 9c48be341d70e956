"""`decode`, `evaluate` and `calibrate`: the pipeline over a recording."""

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cortexwire.cli import options
from cortexwire.cli.console import note, progress, show_json, show_rows
from cortexwire.cli.help import examples
from cortexwire.cli.sources import check_folder, check_stream, open_bundle, open_source, packet_sizes, sample_range
from cortexwire.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cortexwire.cli.offline import DecodeSummary
    from cortexwire.config import EngineConfig
    from cortexwire.decoders import Bundle
    from cortexwire.sessions.session import Session


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        rich_help_panel=options.LEARN,
        epilog=examples(
            "cortexwire decode recording.toml --bundle my-bundle",
            "cortexwire decode recording.toml --bundle my-bundle --out outputs.npz",
            "cortexwire decode recordings/today --against recorded",
            "cortexwire decode sim:channels=96,seconds=20,seed=5 --bundle reference --packet-samples 1-600",
        ),
    )(decode)
    app.command(
        rich_help_panel=options.LEARN,
        epilog=examples(
            "cortexwire evaluate recording.toml --bundle my-bundle",
            "cortexwire evaluate sim:channels=96,seconds=40,seed=5 --bundle reference --min-r2 0.7",
        ),
    )(evaluate)
    app.command(
        rich_help_panel=options.LEARN,
        epilog=examples(
            "cortexwire calibrate today.toml --bundle my-bundle --out thresholds.json",
            "cortexwire calibrate today.toml --bundle my-bundle --overlay-out today.overlay",
            "cortexwire calibrate wavs/ --seconds 3 --set reference.mode=median --out thresholds.json",
        ),
    )(calibrate)


def decode(
    source: options.Source,
    bundle: options.BundleFolder = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write outputs: arrays where it ends in .npz, else frames, each behind its u32 length."),
    ] = None,
    packet_samples: options.PacketSamples = None,
    packet_ms: options.PacketMs = None,
    start_s: options.From = 0.0,
    stop_s: options.To = None,
    armed: options.Armed = None,
    thresholds: options.Thresholds = None,
    overlay: options.Overlay = None,
    provider: options.Provider = None,
    executor: options.Executor = None,
    config: options.Config = None,
    assignments: options.Assignments = None,
    epoch: options.Epoch = None,
    against: Annotated[
        Literal["recorded"] | None,
        typer.Option(help="Of a log: feed the recorded inputs again, and compare each output with the recorded one."),
    ] = None,
    data: options.DataFolder = None,
    json: options.Json = False,
) -> None:
    """Decode a recording with the very pipeline that runs live, as fast as it goes.

    What decides a decoded value is the same as live, bit for bit, whatever the packet size. With --against recorded
    everything comes from the log, and the exit code is 1 where an output that can be reproduced is not as recorded.
    """
    if against is not None:
        from cortexwire.cli.against import decode_against

        given = {
            "--out": out, "--packet-samples": packet_samples, "--packet-ms": packet_ms, "--from": start_s or None,
            "--to": stop_s, "--armed": armed, "--thresholds": thresholds, "--overlay": overlay, "--epoch": epoch,
            "--provider": provider, "--executor": executor, "--config": config, "--set": assignments or None,
        }  # fmt: skip
        if odd := [name for name, value in given.items() if value is not None]:
            raise ConfigError(f"--against recorded: expected only --bundle and --json beside it, got {odd[0]}")
        decode_against(source, bundle, json)
    from cortexwire.cli.offline import NO_TICKS, DecodeSummary, decoded, write_outputs

    session = open_source(source, data)
    settings = _settings(config, bundle, armed, thresholds, overlay, provider, executor, assignments)
    check_stream(open_bundle(settings.bundle), session)
    span = sample_range(session, start_s, stop_s)
    sizes = packet_sizes(packet_samples, packet_ms, session.rate)
    summary = DecodeSummary()
    began = time.monotonic()
    with progress("decoding") as share:
        outputs = decoded(settings, session, sizes, span, summary, epoch=epoch, progress=share)
        if out is None:
            for _ in outputs:
                pass
        else:
            write_outputs(out, outputs)
    took_s, signal_s = time.monotonic() - began, (span[1] - span[0]) / session.rate.hz
    if json:
        show_json({**asdict(summary), "signal_s": signal_s, "took_s": took_s, "note": NO_TICKS})
        return
    show_rows(
        {
            **_in_words(summary),
            "time": f"{took_s:.2f} s for {signal_s:g} s of signal",
            **({"written": out} if out else {}),
        },
        f"decoded {session.name}",
    )
    note(NO_TICKS)


def evaluate(
    source: options.Source,
    bundle: options.BundleFolder = None,
    columns: Annotated[
        str | None, typer.Option(metavar="X,Y", help="True velocity.", show_default="what the bundle was trained on")
    ] = None,
    min_r2: Annotated[
        float | None, typer.Option(help="Exit with 1 when the worse axis scores less.", show_default=False)
    ] = None,
    start_s: options.From = 0.0,
    stop_s: options.To = None,
    thresholds: options.Thresholds = None,
    overlay: options.Overlay = None,
    provider: options.Provider = None,
    executor: options.Executor = None,
    config: options.Config = None,
    assignments: options.Assignments = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a report, one HTML page; takes minutes.", show_default=False)
    ] = None,
    data: options.DataFolder = None,
    json: options.Json = False,
) -> None:
    """Decode a recording and score it: R2 of each axis at zero lag, over all bins after calibration.

    Of a session that the bundle was trained on, the part that was held out is scored as well.
    """
    from cortexwire.cli.offline import DecodeSummary, decoded
    from cortexwire.runtime.offline import decoded_against
    from cortexwire.training.fitting import velocity_columns
    from cortexwire.training.metrics import r2

    if report is not None:
        check_folder("--report", report.absolute().parent)
    session = open_source(source, data)
    settings = _settings(config, bundle, None, thresholds, overlay, provider, executor, assignments)
    loaded = open_bundle(settings.bundle)
    check_stream(loaded, session)
    training = loaded.manifest.training
    named = tuple(columns.split(",")) if columns else tuple(training.settings.get("columns", ()))
    if len(true_columns := velocity_columns(session, named)) != 2:
        raise ConfigError(f"--columns: expected the two of a velocity, got {', '.join(true_columns)}")
    x, y = true_columns
    span = sample_range(session, start_s, stop_s)
    summary = DecodeSummary()
    with progress("decoding") as share:
        sizes = packet_sizes(None, 20.0, session.rate)
        outputs = decoded(settings, session, sizes, span, summary, progress=share)
        came, true, ends = decoded_against(session, outputs, (x, y))
    if not len(came):
        raise ConfigError(f"{session.name}: expected bins after calibration, got none; decode more, or shorten it")
    scores = dict(zip((x, y), r2(true, came).tolist(), strict=True))
    held_out = _held_out(loaded, session, ends)
    extra = {} if held_out is None else dict(zip((x, y), r2(true[held_out], came[held_out]).tolist(), strict=True))
    passed = min_r2 is None or min(scores.values()) >= min_r2
    if report is not None:
        _write_report(report, session, loaded, settings, (x, y))
    if json:
        show_json({"r2": scores, "r2_held_out": extra or None, "passed": passed, **asdict(summary)})
    else:
        show_rows({**_in_words(summary), **_scores(scores)}, session.name)
        if extra:
            show_rows(_scores(extra), "held out in training")
    raise typer.Exit(0 if passed else 1)


def calibrate(
    source: options.Source,
    out: Annotated[Path | None, typer.Option(help="The thresholds file to write.", show_default=False)] = None,
    bundle: options.BundleFolder = None,
    overlay_out: Annotated[
        Path | None, typer.Option(help="Write an overlay: the bundle's features, normalised for the day.")
    ] = None,
    mode: Annotated[
        Literal["zscore", "mean", "gain"], typer.Option(help="What the overlay takes from the day.")
    ] = "zscore",
    seconds: Annotated[
        float | None, typer.Option(min=0.001, help="Clean signal to measure on.", show_default="the chain's")
    ] = None,
    assignments: options.FrontEndAssignments = None,
    start_s: options.From = 0.0,
    stop_s: options.To = None,
    data: options.DataFolder = None,
    json: options.Json = False,
) -> None:
    """Find the thresholds of a day, in microvolts, and normalise a bundle's features for it.

    Thresholds follow the rule of the bundle's signal chain, or of the default one. An overlay changes the features'
    mean and scale, without touching the bundle; the engine takes it with --overlay.
    """
    overlay: dict[str, str] = {}
    if out is None and overlay_out is None:
        raise ConfigError("calibrate: expected --out, --overlay-out or both, got neither")
    if overlay_out is not None:
        if out is None and (seconds is not None or assignments):
            raise ConfigError("--overlay-out: expected no --seconds and --set, which speak of thresholds (--out)")
        overlay = _calibrate_overlay(source, bundle, overlay_out, mode, start_s, stop_s, data)
        if not json:
            show_rows({"overlay": overlay["overlay"], "made from": overlay["note"]}, "normalised for the day")
        elif out is None:
            show_json(overlay)
    if out is None:
        return
    import msgspec
    import numpy as np

    from cortexwire.cli.chains import chain_of, thresholds_of

    session = open_source(source, data)
    loaded = None if bundle is None else open_bundle(bundle)
    if loaded is not None:
        check_stream(loaded, session)
    chain = chain_of(loaded, session, seconds, assignments or ())
    with progress("calibrating") as share:
        found, noise = thresholds_of(session, chain, sample_range(session, start_s, stop_s), share)
    values = [float(value) if math.isfinite(value) else None for value in found]
    out.write_bytes(msgspec.json.encode({"thresholds_uv": values}) + b"\n")
    disabled = [channel for channel, value in enumerate(values) if value is None]
    known = found[np.isfinite(found)]
    if json:
        show_json({"thresholds_uv": values, "disabled": disabled, "clean_s": noise.clean_s, "out": str(out), **overlay})
        return
    show_rows(
        {
            "channels": f"{len(values)}, of which {len(disabled)} disabled {disabled if disabled else ''}".rstrip(),
            "measured on": f"{noise.clean_s:.2f} s of clean signal",
            "RMS": f"median {np.median(noise.rms_uv):.2f} uV",
            "thresholds": f"{known.min():.1f} to {known.max():.1f} uV" if known.size else "none",
            "written": out,
        },
        f"calibrated on {session.name}",
    )


def _calibrate_overlay(
    source: str,
    bundle: Path | None,
    out: Path,
    mode: Literal["zscore", "mean", "gain"],
    start_s: float,
    stop_s: float | None,
    data: Path | None,
) -> dict[str, str]:
    from cortexwire.decoders import write_overlay
    from cortexwire.pipeline.pipeline import front_end_of
    from cortexwire.training.features import extract_features
    from cortexwire.training.normalise import day_overlay

    if bundle is None:
        raise ConfigError("--overlay-out: expected the --bundle that it is for, got none")
    session = open_source(source, data)
    loaded = open_bundle(bundle)
    check_stream(loaded, session)
    start, stop = sample_range(session, start_s, stop_s)
    with progress("reading") as share:
        table = extract_features(session, front_end_of(loaded), start=start, stop=stop, progress=share)
    found = day_overlay(loaded, table, mode=mode)
    write_overlay(out, loaded, found.parameters, found.note)
    return {"overlay": str(out), "hash": f"{found.hash:016x}", "note": found.note}


def _write_report(
    path: Path, session: "Session", bundle: "Bundle", settings: "EngineConfig", columns: tuple[str, str]
) -> None:
    from cortexwire.cli.console import progress_of_parts
    from cortexwire.decoders import load_overlay
    from cortexwire.runtime.assembly import read_thresholds
    from cortexwire.training.evaluation import evaluate as score
    from cortexwire.training.report import write_report

    with progress_of_parts("scoring") as tell:
        found = score(
            session,
            bundle,
            overlay=None if settings.overlay is None else load_overlay(settings.overlay, bundle),
            thresholds_uv=None if settings.thresholds is None else read_thresholds(settings.thresholds),
            columns=columns,
            progress=tell,
        )
    write_report(found, path)
    note(f"report: {path}")


def _settings(
    config: Path | None,
    bundle: Path | None,
    armed: bool | None,
    thresholds: Path | None,
    overlay: Path | None,
    provider: str | None,
    executor: str | None,
    assignments: list[str] | None,
) -> "EngineConfig":
    from cortexwire.config import load_config
    from cortexwire.runtime.shipped import bundle_folder

    flags = {
        "bundle": None if bundle is None else bundle_folder(bundle),
        "armed": armed,
        "thresholds": thresholds,
        "overlay": overlay,
        "provider": provider,
        "executor": executor,
    }
    return load_config(config, flags=flags, assignments=assignments or ())


def _in_words(summary: "DecodeSummary") -> dict[str, Any]:
    counters = {name: count for name, count in summary.counters.items() if count}
    return {
        "bins": f"{summary.bins}: {summary.valid} valid, {summary.partial} partial, {summary.stale} stale",
        "safe messages": ", ".join(f"{count} {reason}" for reason, count in summary.safe.items()) or "none",
        "counters": ", ".join(f"{name} {count}" for name, count in counters.items()),
    }


def _scores(scores: dict[str, float]) -> dict[str, str]:
    return {f"R2 {name}": f"{score:.4f}" for name, score in scores.items()}


def _held_out(bundle: "Bundle", session: "Session", ends: "NDArray[np.int64]") -> "NDArray[np.bool_] | None":
    """Which of the decoded bins with these ends training held out, where it saw this very session."""
    from cortexwire.training.recording import held_out_ends

    found = held_out_ends(bundle.manifest.training, session)
    if found is None or not (chosen := (ends >= found[0]) & (ends <= found[1])).any():
        return None
    note(f"{session.name} is what {bundle.manifest.name} was trained on: trust the score of the held-out part only")
    return chosen
