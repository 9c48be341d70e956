"""Must-show 4: a simulated recording exported to NWB, read again and decoded, with counts as the original, bit for bit.

Both of the format's own tools have to be content with the file: the validator with all of it, the inspector of best
practices with all but its suggestions, which are listed.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from cortexwire.bench.evidence import progress
from cortexwire.bench.live import RunError, short_folder
from cortexwire.config import EngineConfig, load_config
from cortexwire.runtime.assembly import assemble
from cortexwire.runtime.nwb_export import Recording, Subject, decoded_recording, export_nwb
from cortexwire.runtime.offline import decode_frames
from cortexwire.runtime.shipped import reference_bundle
from cortexwire.sessions import Session, open_session, session_packets
from cortexwire.wire import OutKind, Output

SOURCE: Final = "sim:channels=96,seconds=60,seed=5"
PACKETS: Final = 777
"""Samples in a packet when the file is decoded; another number than at export, since it must not matter."""
_EPOCH: Final = 1


def nwb_round_trip(*, source: str = SOURCE, recorded: Callable[[Path], Session] | None = None) -> dict[str, Any]:
    """Must-show 4: simulate, record, export, read, decode.

    Args:
        source: The simulated session.
        recorded: Records the session into a folder and opens what was recorded; None exports the session itself.

    Raises:
        RunError: pynwb or the inspector is absent.
    """
    try:
        import nwbinspector
        import pynwb
    except ModuleNotFoundError as error:
        raise RunError(
            f"expected pynwb and nwbinspector, got no {error.name}; pip install 'cortexwire[dev]'"
        ) from error
    from cortexwire.clients.simulator import parse_source

    config = load_config(None, flags={"bundle": reference_bundle()})
    original = _decoded(config, parse_source(source), 600)
    with short_folder() as folder:
        path = folder / "session.nwb"
        session = parse_source(source) if recorded is None else recorded(folder)
        progress(f"exporting {source}")
        began = time.monotonic()
        recording = decoded_recording(Recording(session, started=datetime(2024, 1, 1, tzinfo=UTC)), config)
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
        "source": source,
        "recorded": recorded is not None,
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
        "expected": "counts and velocities of every bin bit for bit, units that count the same, no complaint",
    }
    bins = len(original)
    same = bins > 0 and len(again) == bins and counts == velocity == unit_counts == bins and same_descriptor
    return {"passed": same and not errors and not worse, **result}


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
