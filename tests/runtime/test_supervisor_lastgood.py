"""What is known of an engine that is gone: by its orders, by its map, by what a killed supervisor left."""

import shutil
import threading
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cortexwire.config import EngineConfig, load_config
from cortexwire.decoders import StreamSpec, load_bundle, load_overlay, write_overlay
from cortexwire.errors import ConfigError
from cortexwire.pipeline import commands
from cortexwire.runtime.assembly import read_thresholds
from cortexwire.runtime.control import ControlClient, ControlServer
from cortexwire.runtime.orders import KnownBundle, OrderBook, Orders, read_orders
from cortexwire.runtime.rundir import RunDir
from cortexwire.runtime.supervisor.lastgood import LastGood
from cortexwire.runtime.telemetry import EngineStatus, TelemetryReader, TelemetrySnapshot, TelemetryWriter
from cortexwire.signal.binning import DEAD, MASKED
from cortexwire.training import seeded_bundle
from cortexwire.wire import Start

STREAM = StreamSpec(kind="events", rate_num=30000, uv_per_bit=1.0, n_channels=4, bin_ms=20.0)


def answers(server: ControlServer, problem: str | None) -> threading.Thread:
    """A hot loop that answers one command."""

    def answer() -> None:
        while (pending := server.take()) is None:
            time.sleep(0.001)
        pending.answer(5, problem)

    hot = threading.Thread(target=answer)
    hot.start()
    return hot


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    (tmp_path / "run").mkdir()
    return RunDir(tmp_path / "run")


def said(run_dir: RunDir, status: EngineStatus) -> TelemetrySnapshot:
    """What a reader finds once an engine has said this."""
    TelemetryWriter(run_dir.telemetry, 4).publish(status, [])
    with TelemetryReader(run_dir.telemetry) as reader:
        return reader.read()


def status(thresholds: list[float], flags: int = 0, bin_: int = 7) -> EngineStatus:
    values = np.array(thresholds, np.float32)
    n = len(values)
    return EngineStatus(
        state="running",
        bin=bin_,
        rate_hz=np.zeros(n, np.float32),
        rms_uv=np.zeros(n, np.float32),
        threshold_uv=values,
        status=np.array([0, flags, DEAD, MASKED | DEAD], np.uint8),
    )


def config_of(last_good: LastGood) -> EngineConfig:
    """The configuration of an engine that is started again."""
    return load_config(
        env={}, flags={"bundle": "b", "armed": True, "overlay": "x"}, assignments=last_good.assignments()
    )


def test_orders_are_what_commands_leave_in_force() -> None:
    orders = Orders(armed=True)
    for command in (
        commands.SetGain(((1.0, 0.0), (0.0, 2.0))),
        commands.SetOffset((1.0, -1.0)),
        commands.Mask((3, 7)),
        commands.Mask((3,), masked=False),
        commands.Neutral(True),
        commands.Mark(300),
    ):
        orders = orders.after(command)
    assert orders == Orders(
        armed=True, neutral=True, gain=((1.0, 0.0), (0.0, 2.0)), offset=(1.0, -1.0), masks={3: False, 7: True}
    )
    assert msgspec.json.decode(msgspec.json.encode(orders), type=Orders) == orders
    assert orders.after(commands.Disarm()).armed is False
    assert orders.after(commands.Neutral(False)).neutral is False
    assert orders.after(commands.Arm()).armed is True


def test_orders_say_where_bundles_and_overlays_lie_that_may_be_in_force() -> None:
    start = Start(
        pid=1, t_realtime_ns=0, config={}, fingerprint="f",
        bundle="/a", bundle_sha256="01" + "0" * 62, overlay="/a.day", overlay_sha256="02" + "0" * 62,
    )  # fmt: skip
    orders = Orders().started(start)
    for command in (
        commands.ApplyOverlay("/monday", "00000000000000aa"),
        commands.AttachBundle("/b", "03" + "0" * 62, "/b.day", "00000000000000bb"),
        commands.AttachBundle("/c", "04" + "0" * 62),
        commands.ActivateBundle(),
        commands.RollbackBundle(),
        commands.UnstageBundle(),
    ):
        orders = orders.after(command)
    assert {number: bundle.path for number, bundle in orders.bundles.items()} == {
        "0000000000000001": "/a", "0000000000000003": "/b", "0000000000000004": "/c"
    }  # fmt: skip
    assert orders.overlays == {
        "0000000000000002": "/a.day", "00000000000000aa": "/monday", "00000000000000bb": "/b.day"
    }  # fmt: skip


def in_force(run_dir: RunDir, bundle: int, overlay: int = 0) -> TelemetrySnapshot:
    said_now = status([-50.0] * 4)
    said_now.bundle_hash, said_now.overlay_hash = bundle, overlay
    return said(run_dir, said_now)


def test_an_engine_is_started_again_with_the_bundle_and_overlay_in_command_as_they_were(
    run_dir: RunDir, tmp_path: Path
) -> None:
    old, new = (
        seeded_bundle(tmp_path / name, seed=seed, stream=STREAM, history=2) for name, seed in (("a", 1), ("b", 2))
    )
    day = write_overlay(tmp_path / "day", new, {"bias": np.ones(2, np.float32)})
    orders = Orders(
        bundles={f"{each.hash:016x}": KnownBundle(str(each.path), each.sha256) for each in (old, new)},
        overlays={f"{day.hash:016x}": str(tmp_path / "day")},
    )
    run_dir.orders.write_bytes(msgspec.json.encode(orders))
    last_good = LastGood(run_dir, rearm=False)
    # A takeover that was asked for is none yet: the map says who is in command.
    last_good.look(in_force(run_dir, old.hash))
    assert load_bundle(config_of(last_good).bundle or Path()).sha256 == old.sha256
    assert config_of(last_good).overlay is None
    last_good.look(in_force(run_dir, new.hash, day.hash))
    shutil.rmtree(new.path)
    (tmp_path / "day").write_bytes(b"another day's")
    last_good.look(in_force(run_dir, new.hash, day.hash))
    config = config_of(last_good)
    assert config.bundle is not None
    assert config.overlay is not None
    kept = load_bundle(config.bundle)
    assert kept.sha256 == new.sha256
    assert load_overlay(config.overlay, kept).hash == day.hash
    # The engine that is started with the copies says so, and they are their own copies, also the second time.
    again = Orders(
        bundles={f"{new.hash:016x}": KnownBundle(str(config.bundle), new.sha256)},
        overlays={f"{day.hash:016x}": str(config.overlay)},
    )
    run_dir.orders.write_bytes(msgspec.json.encode(again))
    last_good.look(in_force(run_dir, new.hash, day.hash))
    assert (config_of(last_good).bundle, config_of(last_good).overlay) == (config.bundle, config.overlay)
    # One without the other fits nothing: of an overlay that nobody named, nothing is known.
    last_good.look(in_force(run_dir, old.hash, 99))
    assert config_of(last_good).bundle == config.bundle
    # A rollback to the bundle's own values goes before the overlay of the configuration.
    last_good.look(in_force(run_dir, new.hash))
    assert config_of(last_good).overlay is None
    last_good.forget()
    assert not run_dir.bundles.exists()


def test_a_bundle_that_cannot_be_kept_is_taken_from_where_it_was(run_dir: RunDir) -> None:
    orders = Orders(bundles={f"{5:016x}": KnownBundle("/nowhere", "05" + "0" * 62)})
    run_dir.orders.write_bytes(msgspec.json.encode(orders))
    last_good = LastGood(run_dir, rearm=False)
    last_good.look(in_force(run_dir, 5))
    assert config_of(last_good).bundle == Path("/nowhere")


def test_what_was_answered_is_written_and_what_was_refused_is_not(run_dir: RunDir) -> None:
    book = OrderBook(run_dir.orders, EngineConfig(armed=True))
    server = ControlServer(run_dir.control_endpoint, run_dir.telemetry, carried_out=book.note)
    server.start()
    try:
        with ControlClient(run_dir.control_endpoint) as client:
            for problem, gain in ((None, 2.0), ("not now", 3.0)):
                hot = answers(server, problem)
                client.send(commands.SetGain(gain))
                hot.join()
                assert read_orders(run_dir.orders) == Orders(armed=True, gain=2.0)
    finally:
        server.close()


def test_a_command_is_answered_even_if_it_cannot_be_written_down(run_dir: RunDir) -> None:
    def fails(_command: commands.Command) -> None:
        raise OSError("disk full")

    server = ControlServer(run_dir.control_endpoint, run_dir.telemetry, carried_out=fails)
    server.start()
    try:
        hot = answers(server, None)
        with ControlClient(run_dir.control_endpoint) as client:
            assert client.send(commands.Disarm()).bin == 5
        hot.join()
    finally:
        server.close()


def test_orders_that_cannot_be_written_stop_a_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run_dir: cannot write .*/nowhere/orders\.json: No such file"):
        OrderBook(tmp_path / "nowhere" / "orders.json", EngineConfig())


def test_a_restarted_engine_gets_the_very_same_thresholds_and_masks(run_dir: RunDir) -> None:
    last_good = LastGood(run_dir, rearm=False)
    values = [-52.123456, float("nan"), -1e-3, -77.7]
    kept = np.array(values, np.float32)
    last_good.look(said(run_dir, status(values, MASKED)))
    config = config_of(last_good)
    assert config.thresholds == run_dir.thresholds
    np.testing.assert_array_equal(np.array(read_thresholds(run_dir.thresholds), np.float32), kept)
    # A dead channel may come back to life; a masked one was masked by somebody.
    assert config.front_end == {"masked": [1, 3]}


def test_thresholds_that_are_being_measured_are_not_the_last_good_ones(run_dir: RunDir) -> None:
    last_good = LastGood(run_dir, rearm=False)
    last_good.look(said(run_dir, status([-50.0] * 4)))
    last_good.look(said(run_dir, status([float("nan")] * 4)))
    last_good.look(None)
    assert read_thresholds(run_dir.thresholds) == (-50.0,) * 4
    assert config_of(last_good).thresholds == run_dir.thresholds


def test_before_the_first_bin_nothing_is_known_of_channels(run_dir: RunDir) -> None:
    last_good = LastGood(run_dir, rearm=True)
    last_good.look(said(run_dir, EngineStatus()))
    last_good.look(said(run_dir, status([float("nan")] * 4, bin_=-1)))
    assert config_of(last_good).front_end == {}
    assert config_of(last_good).thresholds is None


@pytest.mark.parametrize(
    ("rearm", "orders", "armed"),
    [
        (False, Orders(armed=True), False),
        (True, Orders(armed=True), True),
        (True, Orders(armed=False), False),
        (True, Orders(armed=True, neutral=True), False),
        (True, None, False),
    ],
)
def test_an_engine_is_armed_again_only_where_that_is_wanted_and_nobody_stopped_it(
    run_dir: RunDir, rearm: bool, orders: Orders | None, armed: bool
) -> None:
    if orders is not None:
        run_dir.orders.write_bytes(msgspec.json.encode(orders))
    last_good = LastGood(run_dir, rearm)
    last_good.look(None)
    assert config_of(last_good).armed is armed
    # A neutral stop stays on until somebody releases it, whatever dies meanwhile.
    assert config_of(last_good).pipeline.safety.neutral is (orders is not None and orders.neutral)


def test_gain_offset_and_endpoints_are_those_of_the_engine_that_died(run_dir: RunDir) -> None:
    orders = Orders(gain=((1.0, 0.5), (0.0, 1.0)), offset=(0.5, 0.0))
    run_dir.orders.write_bytes(msgspec.json.encode(orders))
    last_good = LastGood(run_dir, rearm=False)
    last_good.ready({"ingest": "tcp://127.0.0.1:5555", "output": "tcp://127.0.0.1:43217"})
    last_good.look(None)
    config = config_of(last_good)
    assert config.output.endpoint == "tcp://127.0.0.1:43217"
    assert config.pipeline.output.gain == ((1.0, 0.5), (0.0, 1.0))
    assert config.pipeline.output.offset == (0.5, 0.0)


def test_a_mask_that_was_answered_is_known_before_the_map_has_it(run_dir: RunDir) -> None:
    run_dir.orders.write_bytes(msgspec.json.encode(Orders(masks={0: True, 3: False})))
    last_good = LastGood(run_dir, rearm=False)
    last_good.look(said(run_dir, status([-50.0] * 4, MASKED)))
    assert config_of(last_good).front_end == {"masked": [0, 1]}


def test_what_a_killed_supervisor_left_is_taken_up_and_an_orderly_end_leaves_nothing(run_dir: RunDir) -> None:
    killed = LastGood(run_dir, rearm=False)
    killed.look(said(run_dir, status([-50.0] * 4)))
    heir = LastGood(run_dir, rearm=False, resume=True)
    assert heir.resumed
    assert heir.settings == killed.settings
    heir.forget()
    assert not LastGood(run_dir, rearm=False, resume=True).resumed
    run_dir.last_good.write_bytes(b"{nonsense")
    assert not LastGood(run_dir, rearm=False, resume=True).resumed
