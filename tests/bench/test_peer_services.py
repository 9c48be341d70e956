"""Peers do the engine's work on the engine's packets; how fast they are is measured elsewhere."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cortexwire.bench import service_turns as turns
from cortexwire.bench.live import short_folder
from cortexwire.bench.numpy_chain import LAYOUTS
from cortexwire.bench.peering import agreement, run_peers
from cortexwire.bench.peers.front_end import layout_from_json, layout_to_json, numpy_front_end
from cortexwire.bench.peers.packets import Alignment, Signal, end_of_stream, is_end, read_signal
from cortexwire.bench.peers.preparation import find_thresholds
from cortexwire.bench.peers.subscribe import COLUMNS
from cortexwire.bench.peers.weights import gru_weights
from cortexwire.bench.peers.zmq_service import Echo
from cortexwire.bench.service_turns import Turn
from cortexwire.bench.services import PEERS_MODULE, SERVICES, Setup, Transport, absent, prepare
from cortexwire.clients.simulator import SimulatedSession
from cortexwire.decoders import Bundle, OnnxDecoder, load_bundle
from cortexwire.errors import BundleError, ConfigError
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training import seeded_bundle, seeded_gru
from cortexwire.training.features import designed, extract_features, stream_of
from cortexwire.types import Rate
from cortexwire.wire import OutFlag, PacketEncoder, decode_output
from tests.training.examples import STREAM

BIN, PACKET = 600, 30


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LEAD_S", 0.7)
    monkeypatch.setattr(turns, "TAIL_S", 0.2)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return prepare(tmp_path_factory.mktemp("setup"), 4, "ipc", "onnx")


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("peer", [name for name in SERVICES if name != "engine"])
def test_a_peer_is_measured_beside_the_engine(peer: str) -> None:
    if (why := absent(peer)) is not None:
        pytest.skip(why)
    transport: Transport = "tcp" if peer == "torch_chain" else "ipc"
    found = run_peers((4,), seconds=1.0, services=(peer,), turns=1, transport=transport)
    json.dumps(found)
    (result,) = found["results"]
    assert result["services"].keys() == {"engine", peer}
    theirs = result["services"][peer]
    assert theirs["bins_due"] >= 49
    assert theirs["bins_missed"] == theirs["outputs_damaged"] == 0
    assert 0 < theirs["sent_to_received_us"]["p50"] <= theirs["sent_to_received_us"]["max"]
    assert 0 < theirs["compute_us"]["p50"] < theirs["sent_to_received_us"]["p50"]
    assert all(share > 0 for share in theirs["core_share"].values())
    same = theirs["agreement"]
    assert same["bins"] >= 40
    if peer != "echo":
        assert same["crossings_over_engine"] == pytest.approx(1, abs=0.02)
        assert same["velocity_distance"] < 1e-4


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cortexwire.bench.services.find_spec", lambda _: None)
    assert absent("torch_chain") == "torch is not installed: pip install 'cortexwire[peers]'"
    assert absent("echo") is None
    monkeypatch.setattr("cortexwire.bench.services.find_spec", lambda _: "found")
    monkeypatch.setattr("cortexwire.bench.services.shutil.which", lambda _: None)
    assert absent("redis_chain") == "redis-server is not installed: apt-get install redis-server"


def test_nobody_else_can_be_measured() -> None:
    with pytest.raises(ConfigError, match=r"expected some of engine, echo, .* got another"):
        run_peers((4,), services=("another",))


@pytest.mark.parametrize(("channels", "units"), [(96, 128), (256, 256)])
def test_torch_with_the_bundles_weights_decodes_what_the_bundle_decodes(
    channels: int, units: int, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="torch is absent: pip install 'cortexwire[peers]'")
    from cortexwire.bench.peers.torch_gru import TorchGru

    bundle = gru(tmp_path, channels, units)
    ours, theirs = OnnxDecoder(bundle, "cpu"), TorchGru(gru_weights(bundle))
    counts = np.random.default_rng(4).poisson(0.4, (100, channels))
    wanted = np.stack([ours.step(row.astype(np.float32))["velocity"] for row in counts])
    came = np.stack([theirs.step(row) for row in counts])
    np.testing.assert_allclose(came, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert wanted.std(axis=0).min() > 1


def gru(folder: Path, channels: int, units: int) -> Bundle:
    stream = STREAM.__class__(kind="events", rate_num=30000, uv_per_bit=1.0, n_channels=channels, bin_ms=20.0)
    return seeded_gru(folder / "gru", seed=2, stream=stream, units=units)


def test_weights_are_read_from_a_gru_only(tmp_path: Path) -> None:
    weights = gru_weights(gru(tmp_path, 8, 16))
    assert weights.recurrent.shape == (48, 16)
    assert not weights.echo_bias[:32].any()
    assert weights.echo_bias[32:].any()
    with pytest.raises(BundleError, match="expected a GRU of one layer"):
        gru_weights(seeded_bundle(tmp_path / "wiener", seed=1, stream=STREAM))


def test_the_peers_chain_counts_what_our_front_end_counts(setup: Setup) -> None:
    bundle = load_bundle(setup.bundle)
    session = SimulatedSession(setup.simulator, 1.0)
    thresholds = find_thresholds(bundle, setup.simulator)
    chain = numpy_front_end(bundle, layout_from_json(dict(setup.layout)), thresholds)
    made = [chain.push(session.wideband(at, at + PACKET)) for at in range(0, session.n_samples, PACKET)]
    theirs = np.stack([bin_[0] for bin_ in made if bin_ is not None])
    ours = extract_features(session, designed(FrontEndSettings(), session), thresholds_uv=tuple(thresholds.tolist()))
    assert ours.counts[5:].sum() > 20
    np.testing.assert_array_equal(theirs[ours.index][5:], ours.counts[5:])


def test_a_chain_that_a_bundle_does_not_ask_for_is_refused(setup: Setup, tmp_path: Path) -> None:
    session = SimulatedSession(setup.simulator, 1.0)
    settings = designed(FrontEndSettings(features=("counts", "band_power")), session)
    front_end = settings.model_dump(mode="json")
    bundle = seeded_gru(tmp_path / "b", seed=1, stream=stream_of(session, 20.0), units=4, front_end=front_end)
    with pytest.raises(ValueError, match="expected band-passed counts"):
        numpy_front_end(bundle, LAYOUTS[0], np.zeros(4))


def test_layouts_survive_json() -> None:
    assert [layout_from_json(json.loads(json.dumps(layout_to_json(layout)))) for layout in LAYOUTS] == list(LAYOUTS)


def test_packets_of_samples_are_read_and_others_are_told_apart() -> None:
    encoder = PacketEncoder(Rate(30_000), 3, None, 0.25, epoch=5)
    samples = np.arange(90, dtype=np.int16).reshape(30, 3)
    read = read_signal(encoder.wideband(600, samples, acquired_ns=7, sent_ns=8))
    assert read is not None
    assert read[:3] == (600, 7, 8)
    np.testing.assert_array_equal(read.samples, samples)
    end = encoder.end(630)
    assert read_signal(end) is None
    assert is_end(end)
    assert OutFlag.ENDED in decode_output(end_of_stream()).flags


def at(sample_index: int) -> Signal:
    return Signal(sample_index, 0, 0, np.zeros((PACKET, 1), np.int16))


def test_after_a_gap_a_chain_goes_on_where_it_stopped_in_the_bin() -> None:
    alignment = Alignment(BIN)
    sent = [*range(90, 1260, 30), *range(1320, 3000, 30)]
    taken = [index for index in sent if alignment.takes(at(index))]
    assert taken[0] == 600
    phases = [index % BIN for index in taken]
    assert phases == [30 * k % BIN for k in range(len(taken))]
    assert alignment.counts == {"missing_packets": 2, "skipped_packets": 17 + 18}


def test_an_echo_answers_closing_packets_with_whole_messages_as_long_as_outputs(setup: Setup) -> None:
    echo = Echo({}, load_bundle(setup.bundle))
    assert echo.take(Signal(540, 1, 2, np.zeros((PACKET, 4), np.int16)), 3) is None
    message = echo.take(Signal(1170, 1, 2, np.zeros((PACKET, 4), np.int16)), 3)
    assert message is not None
    output = decode_output(message)
    assert (output.bin, output.end_sample) == (1, 1200)
    assert output.times[:3] == (1, 2, 3)
    assert output.tensors["counts"].shape == (4,)


def turn(bins: list[int], latency_us: list[float], due: int, velocity: float = 1.0) -> Turn:
    rows = np.zeros((len(bins), len(COLUMNS)), np.int64)
    rows[:, COLUMNS.index("bin")] = bins
    rows[:, COLUMNS.index("acquired_ns")] = np.array(bins) * 20_000_000
    rows[:, COLUMNS.index("sent_ns")] = rows[:, COLUMNS.index("acquired_ns")]
    rows[:, COLUMNS.index("heard_ns")] = rows[:, COLUMNS.index("sent_ns")] + np.array(latency_us) * 1000
    velocities = np.full((len(bins), 2), velocity)
    return Turn(rows, velocities, due, np.zeros(1), {"engine": 0.1}, {"engine": 9.0}, 0, {"max_lag_ms": 0.0}, {})


def test_bins_that_never_came_are_missed_and_a_backlog_shows_as_drift() -> None:
    behind = turn(list(range(50)), [100 + 20 * k for k in range(50)], due=60)
    assert behind.missed == 10
    assert behind.drift_us_per_s == pytest.approx(1000)
    assert turn([3], [5.0], due=1).drift_us_per_s is None


def test_bins_are_due_by_the_schedule_that_any_one_bin_gives_away(setup: Setup) -> None:
    rows = turn([7], [5.0], due=0).rows
    ms = 1_000_000
    assert turns.bins_due(rows, setup, 0, 100 * ms) == 5
    assert turns.bins_due(rows, setup, 1, 100 * ms + 1) == 5
    assert turns.bins_due(rows, setup, 1, 100 * ms) == 4
    assert turns.bins_due(rows[:0], setup, 0, 100 * ms) == 5


def test_what_was_decoded_is_compared_bin_by_bin() -> None:
    ours = turn([3, 4, 5], [1.0] * 3, 3)
    assert agreement([turn([4, 5, 6], [1.0] * 3, 3)], [ours])["velocity_distance"] == 0
    found = agreement([turn([4, 5, 6], [1.0] * 3, 3, velocity=1.5)], [ours])
    assert (found["bins"], found["velocity_distance"], found["bins_apart"]) == (2, 0.5, 2)
    assert agreement([turn([9], [1.0], 1)], [ours]) == {"bins": 0}


@pytest.mark.parametrize("role", ["sleep", "redis_server"])
def test_what_a_run_started_ends_with_it_even_when_it_is_killed(role: str) -> None:
    if role == "redis_server" and (why := absent("redis_chain")) is not None:
        pytest.skip(why)
    with short_folder() as folder:
        settings = {"socket": str(folder / "redis")}
        started = f"""
from cortexwire.bench.live import Child
child = Child({role!r}, {settings!r}, {PEERS_MODULE if role != "sleep" else "cortexwire.bench.child"!r})
print(child.pid, child.ready.get("pid", child.pid), flush=True)
import signal
signal.pause()
"""
        with subprocess.Popen([sys.executable, "-c", started], stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            pids = [int(pid) for pid in run.stdout.readline().split()]
            assert all(_runs(pid) for pid in pids)
            run.kill()
        until = time.monotonic() + 20
        while any(_runs(pid) for pid in pids) and time.monotonic() < until:
            time.sleep(0.02)
        assert not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
