from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cortexwire.clients.simulator import parse_source
from cortexwire.config import load_config
from cortexwire.pipeline.commands import Mark, Mask, encode_command
from cortexwire.runtime.assembly import assemble
from cortexwire.runtime.nwb_export import Recording, export_nwb
from cortexwire.runtime.nwb_export.logged import logged_recording
from cortexwire.runtime.shipped import reference_bundle
from cortexwire.sessions.log import log_session, open_log
from cortexwire.sessions.nwb import open_nwb
from cortexwire.sessions.packets import session_packets
from cortexwire.wire import Kind, OutKind, Output, RecordKind, decode_packet, encode_output
from tests.sessions.logs import Raw, write_log

pynwb = pytest.importorskip("pynwb")
QUICK = {"threshold": {"calibration_s": 1.0}}
BIN = 600


def recorded(folder: Path, lost: range) -> list[Output]:
    """Write the log of a pipeline that lost some packets and was given commands; returns its decoded outputs."""
    config = load_config(None, flags={"bundle": reference_bundle(), "front_end": QUICK})
    built = assemble(config, live=False)
    records: list[Raw] = [(RecordKind.START, 1_000, msgspec.json.encode(built.start))]
    outputs, t_ns = [], 0
    for frame in session_packets(parse_source("sim:channels=96,seconds=4,seed=11"), 300, 5):
        packet = decode_packet(frame)
        if packet.kind is Kind.WIDEBAND and packet.sample_index in lost:
            continue
        t_ns = 1_000 + packet.end_sample * 10**9 // 30_000
        records.append((RecordKind.PACKET, t_ns, frame))
        came = built.pipeline.packet(frame)
        if packet.kind is Kind.WIDEBAND and packet.end_sample == 75_000:
            for command in (Mask((3, 4)), Mark(300, 2.5)):
                records.append((RecordKind.COMMAND, t_ns, encode_command(command)))
                built.pipeline.command(command)
        records += [(RecordKind.OUTPUT, t_ns, encode_output(output)) for output in came]
        outputs += came
    write_log(folder, records)
    return [output for output in outputs if output.kind is OutKind.DECODED]


def test_a_log_is_exported_with_its_outputs_its_marks_and_the_crossings_that_were_counted(tmp_path: Path) -> None:
    lost = range(66_000, 69_600)
    outputs = recorded(tmp_path / "log", lost)
    log, session = open_log(tmp_path / "log"), log_session(tmp_path / "log")
    recording = logged_recording(Recording(session), log)
    export_nwb(recording, tmp_path / "log.nwb")
    again, units = open_nwb(tmp_path / "log.nwb"), open_nwb(f"{tmp_path}/log.nwb#units")
    np.testing.assert_array_equal(again.gaps, session.gaps)
    assert again.gaps.tolist() == [[66_000, 69_600]]
    assert len(outputs) > 100
    for output in outputs:
        spikes = units.events(output.end_sample - BIN, min(units.n_samples, output.end_sample))
        np.testing.assert_array_equal(np.bincount(spikes["channel"], minlength=96), output.tensors["counts"])
    with pynwb.NWBHDF5IO(tmp_path / "log.nwb", "r") as io:
        file = io.read()
        velocity = file.processing["misc"]["decoded_velocity"]
        np.testing.assert_array_equal(velocity.data[:], np.stack([o.tensors["velocity"] for o in outputs]))
        marks = file.events["marks"]
        assert (marks["code"].data[:].tolist(), marks["value"].data[:].tolist()) == ([300], [2.5])
        assert marks["timestamp"].data[:].tolist() == [2.5]
        assert set(file.intervals["validity"]["label"].data[:]) >= {"missing"}
        assert abs((file.session_start_time - datetime.now(UTC)).total_seconds()) < 600
    config = load_config(None, flags={"bundle": reference_bundle(), "front_end": QUICK})
    pipeline = assemble(config, live=False).pipeline
    decoded = [o for frame in session_packets(again, 777, 5) for o in pipeline.packet(frame)]
    mine = {o.bin: o.tensors["counts"] for o in decoded if o.kind is OutKind.DECODED}
    for output in outputs:
        if output.end_sample <= 75_000:
            np.testing.assert_array_equal(mine[output.bin], output.tensors["counts"])
