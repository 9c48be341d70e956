from pathlib import Path

import numpy as np
import pytest
import zmq

from cortexwire.clients import Rig
from cortexwire.errors import ConfigError
from cortexwire.wire import Clock, Electrode, Kind, MarkerCode, make_events
from tests.clients.peers import ipc, receiver

SAMPLES = np.arange(120, dtype=np.int16).reshape(30, 4)


def test_a_rig_sends_every_kind_with_running_indices(tmp_path: Path) -> None:
    with receiver(zmq.PULL, ipc(tmp_path)) as pull:
        with Rig(ipc(tmp_path), 30_000, 4, uv_per_bit=0.25, columns=("x", "y"), epoch=3) as rig:
            assert rig.wait_for_engine()
            rig.mark(MarkerCode.TRIAL_START, 5)
            rig.send_columns(np.array([1.0, 2.0]))
            rig.send_wideband(SAMPLES)
            rig.send_events(make_events([0, 9], [1, 3]), 10)
            rig.send_columns(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([4, 8]))
            rig.skip(60)
            rig.send_counts(np.array([1, 0, 2, 0]), 600, acquired_ns=77)
            rig.mark(300, offset=2)
            rig.end()
            assert (rig.sample_index, rig.epoch) == (700, 3)
        packets = pull.until_end()
    assert [(packet.kind, packet.sample_index) for packet in packets] == [
        (Kind.DESCRIPTOR, 0),
        (Kind.MARKERS, 0),
        (Kind.COLUMNS, 0),
        (Kind.WIDEBAND, 0),
        (Kind.EVENTS, 30),
        (Kind.COLUMNS, 40),
        (Kind.COUNTS, 100),
        (Kind.MARKERS, 700),
        (Kind.END, 700),
    ]
    assert [packet.sequence for packet in packets] == list(range(9))
    assert rig.sequence == 9
    assert (packets[3].data == SAMPLES).all()
    assert packets[3].uv_per_bit == 0.25
    assert 0 < packets[3].acquired_ns <= packets[3].sent_ns
    assert packets[3].acquired_clock == packets[3].sent_clock == Clock.MONOTONIC
    assert packets[5].data.offsets.tolist() == [4, 8]
    assert packets[6].acquired_ns == 77
    assert packets[7].data["sample_offset"].tolist() == [2]


def test_the_descriptor_is_sent_once_a_second_of_samples_and_on_change(tmp_path: Path) -> None:
    with receiver(zmq.PULL, ipc(tmp_path)) as pull:
        with Rig(ipc(tmp_path), "1000", 2, electrodes=("a", "b")) as rig:
            rig.wait_for_engine()
            for _ in range(30):
                rig.send_events(make_events([], []), 100)
            rig.describe(electrodes=(Electrode("b", "A"), Electrode("a", "A")), uv_per_bit=2.0, reference="screw")
            rig.send_events(make_events([], []), 100)
            rig.describe()
            rig.end()
        packets = pull.until_end()
    described = [packet for packet in packets if packet.kind == Kind.DESCRIPTOR]
    assert [packet.sample_index for packet in described] == [0, 1000, 2000, 3000, 3100]
    assert [electrode.id for electrode in described[-1].data.electrodes] == ["b", "a"]
    assert described[-1].data.reference == "screw"
    assert described[-1].data == rig.descriptor
    assert [packet.sequence for packet in packets] == list(range(len(packets)))
    assert packets[-1].descriptor_hash == rig.descriptor.hash != packets[0].descriptor_hash


def test_a_pub_rig_serves_whoever_subscribed(tmp_path: Path) -> None:
    with Rig(ipc(tmp_path), 30_000, 4, socket="pub", bind=True) as rig:
        with receiver(zmq.SUB, ipc(tmp_path), bind=False) as engine:
            assert rig.wait_for_engine()
            rig.send_wideband(SAMPLES)
            rig.end()
            kinds = [packet.kind for packet in engine.until_end()]
        assert kinds == [Kind.DESCRIPTOR, Kind.WIDEBAND, Kind.END]


def test_a_rig_that_may_not_wait_counts_what_found_no_room(tmp_path: Path) -> None:
    with Rig(ipc(tmp_path), 30_000, 4, block=False) as rig:
        assert not rig.wait_for_engine(0.01)
        rig.send_wideband(SAMPLES)
        assert rig.dropped == 2
        assert (rig.sample_index, rig.sequence) == (30, 2)


def test_misuse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rig: .*sample rate"):
        Rig(ipc(tmp_path), 0, 4)
    with pytest.raises(ConfigError, match="expected 0 or 4 electrodes"):
        Rig(ipc(tmp_path), 1000, 4, electrodes=("a",))
    with pytest.raises(ConfigError, match="cannot connect to 'nonsense'"):
        Rig("nonsense", 1000, 4)
    with Rig(ipc(tmp_path), 30_000, 4, block=False) as rig, pytest.raises(ConfigError, match=r"\(n >= 1, 4\)"):
        rig.send_wideband(SAMPLES[:, :3])
