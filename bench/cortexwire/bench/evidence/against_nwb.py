"""Must-show 4: a recording exported to NWB, read again and decoded, with counts as the original, bit for bit.

Once a simulated session itself, and once what a recorder wrote while an engine decoded a simulated rig.

Both of the format's own tools have to be content with the file: the validator with all of it, the inspector of best
practices with all but its suggestions, which are listed.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from cortexwire.bench.evidence import progress
from cortexwire.bench.live import RunError, short_folder
from cortexwire.config import EngineConfig, load_config
from cortexwire.runtime.assembly import assemble
from cortexwire.runtime.children import Child
from cortexwire.runtime.nwb_export import Recording, Subject, decoded_recording, export_nwb
from cortexwire.runtime.nwb_export.logged import logged_recording
from cortexwire.runtime.offline import decode_frames
from cortexwire.runtime.shipped import reference_bundle
from cortexwire.sessions import Session, open_session, session_packets
from cortexwire.sessions.log import Log, log_session, open_log
from cortexwire.wire import OutKind, Output, RecordKind, decode_output

SOURCE: Final = "sim:channels=96,seconds=60,seed=5"
PACKETS: Final = 777
"""Samples in a packet when the file is decoded; another number than at export, since it must not matter."""
RECORDED_S: Final = 40.0
"""Signal of the recording, of which the first ten seconds calibrate."""
_EPOCH: Final = 1
_LOOK_S: Final = 0.05
_RECORDER_STOP_S: Final = 60.0


def nwb_round_trip(*, source: str = SOURCE, recorded_s: float = RECORDED_S) -> dict[str, Any]:
    """Must-show 4: simulate, record, export, read, decode.

    Args:
        source: The simulated session.
        recorded_s: Signal of the simulated rig that is recorded live.

    Raises:
        RunError: pynwb or the inspector is absent.
    """
    found = {"session": _exported(source, None), "recorded": _exported(source, recorded_s)}
    return {
        "passed": all(each["passed"] for each in found.values()),
        "expected": "counts and velocities of every bin bit for bit, units that count the same, no complaint",
        **found,
    }


def _exported(source: str, recorded_s: float | None) -> dict[str, Any]:
    try:
        import nwbinspector
        import pynwb
    except ModuleNotFoundError as error:
        raise RunError(
            f"expected pynwb and nwbinspector, got no {error.name}; pip install 'cortexwire[dev]'"
        ) from error
    from cortexwire.clients.simulator import parse_source

    config = load_config(None, flags={"bundle": reference_bundle()})
    with short_folder() as folder:
        path = folder / "session.nwb"
        if recorded_s is None:
            session: Session = parse_source(source)
            original = _decoded(config, session, 600)
            recording = decoded_recording(Recording(session, started=datetime(2024, 1, 1, tzinfo=UTC)), config)
        else:
            log = _recorded(folder, recorded_s)
            session = log_session(log.folder)
            original = _outputs(log)
            recording = logged_recording(Recording(session), log)
        progress(f"exporting {session.name}")
        began = time.monotonic()
        written = export_nwb(recording, path, Subject(description="a simulated subject"))
        export_s, n_bytes = time.monotonic() - began, path.stat().st_size
        progress("validating")
        errors = [str(error) for error in pynwb.validate(path=path)]
        found = list(nwbinspector.inspect_nwbfile(nwbfile_path=path))
        began = time.monotonic()
        again_session = open_session(path)
        open_s = time.monotonic() - began
        progress("decoding the file")
        again = _decoded(config, again_session, PACKETS)
        same_descriptor = again_session.descriptor.electrodes == session.descriptor.electrodes
        units = open_session(f"{path}#units")
        unit_counts = _unit_counts(units, original, session)
    suggestion = nwbinspector.Importance.BEST_PRACTICE_SUGGESTION
    worse = [
        f"{each.importance.name} {each.check_function_name}" for each in found if each.importance is not suggestion
    ]
    counts = _equal(original, again, "counts")
    velocity = _equal(original, again, "velocity")
    result = {
        "source": session.name,
        "bins": len(original),
        "counts_equal_bins": counts,
        "velocity_equal_bins": velocity,
        "unit_counts_equal_bins": unit_counts,
        "electrodes_equal": same_descriptor,
        "crossings": int(sum(int(output.tensors["counts"].sum()) for output in original)),
        "validator_errors": errors,
        "inspector_violations": worse,
        "inspector_suggestions": sorted({each.check_function_name for each in found if each.importance is suggestion}),
        "written": written,
        "megabytes": round(n_bytes / 1e6, 1),
        "export_s": round(export_s, 2),
        "open_ms": round(1000 * open_s, 1),
    }
    bins = len(original)
    same = bins > 0 and len(again) == bins and counts == velocity == unit_counts == bins and same_descriptor
    return {"passed": same and not errors and not worse, **result}


def _recorded(folder: Path, seconds: float) -> Log:
    """Let an engine decode a simulated rig while a recorder writes all of it down."""
    run_dir, rig, out = str(folder / "run"), f"ipc://{folder}/rig", folder / "recordings"
    engine_arguments = [
        *("engine", "--json", "--bundle", str(reference_bundle()), "--socket", "pull", "--bind", "--ingest", rig),
        *("--output", f"ipc://{folder}/outputs", "--run-dir", run_dir),
    ]
    simulated = ["simulate", "--json", "--endpoint", rig, "--socket", "push", "--connect", "--seconds", f"{seconds:g}"]
    with (
        Child("engine", engine_arguments) as engine,
        Child("recorder", ["record", "--json", "--run-dir", run_dir, "--out", str(out)]) as recorder,
    ):
        for child in (engine, recorder):
            while not child.lines():
                child.check()
                time.sleep(_LOOK_S)
        progress(f"recording {seconds:g} s")
        with Child("simulator", [*simulated, "--seed", "5"]) as simulator:
            while simulator.poll() is None:
                time.sleep(_LOOK_S)
        engine.stop()
        recorder.stop(_RECORDER_STOP_S)
    return open_log(next(out.iterdir()))


def _outputs(log: Log) -> list[Output]:
    """The decoded outputs that a log holds."""
    found = [decode_output(record.payload) for record in log.records() if record.kind is RecordKind.OUTPUT]
    return [output for output in found if output.kind is OutKind.DECODED]


def _decoded(config: EngineConfig, session: Session, packet_samples: int) -> list[Output]:
    frames = session_packets(session, packet_samples, _EPOCH)
    outputs = decode_frames(assemble(config, live=False).pipeline, frames)
    return [output for output in outputs if output.kind is OutKind.DECODED]


def _equal(one: list[Output], other: list[Output], name: str) -> int:
    """Bins of which a tensor is the same, byte for byte."""
    found = {output.bin: output.tensors[name].tobytes() for output in other}
    return sum(found.get(output.bin) == output.tensors[name].tobytes() for output in one)


def _unit_counts(units: Session, outputs: list[Output], session: Session) -> int:
    """Bins in which the units of the file have as many spikes, channel by channel, as were counted."""
    equal, start = 0, 0
    for number, output in enumerate(outputs):
        if number == 0:
            width = outputs[1].end_sample - output.end_sample if len(outputs) > 1 else output.end_sample
            start = output.end_sample - width
        stop = min(output.end_sample, units.n_samples)
        channels = units.events(start, max(start, stop))["channel"]
        came = np.bincount(channels, minlength=session.n_channels)
        equal += bool((came == output.tensors["counts"]).all())
        start = output.end_sample
    return equal
