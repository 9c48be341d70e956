"""CURVE: beyond loopback nobody without a key gets anything in or out, and no engine starts without keys by mistake."""

import socket
import time
from pathlib import Path

import numpy as np
import pytest
import zmq

from cortexwire.clients import CurveClient, Rig, Subscriber
from cortexwire.clients.curve import read_keys, read_public_key, write_keys
from cortexwire.config import EngineConfig, IngestSettings, OutputSocketSettings, SecuritySettings
from cortexwire.errors import ConfigError, StartupError
from cortexwire.runtime.control import ControlClient
from cortexwire.runtime.curve import curve_server
from cortexwire.runtime.engine import Engine
from tests.runtime.fakes import FakePipeline, built_with, config
from tests.runtime.fakes import Rig as RunningRig

ANYWHERE = "tcp://0.0.0.0:*"


def reached(endpoint: str) -> str:
    """Where a client of this machine finds what is bound everywhere."""
    return endpoint.replace("0.0.0.0", "127.0.0.1")


class Keys:
    """The engine's keys, a client that it knows, and one that it does not."""

    def __init__(self, folder: Path) -> None:
        self.engine_public, self.engine = write_keys(folder / "engine", "engine")
        self.clients = folder / "clients"
        _, known = write_keys(self.clients, "known")
        _, stranger = write_keys(folder / "strangers", "stranger")
        self.known = CurveClient.from_files(self.engine_public, known)
        self.stranger = CurveClient.from_files(self.engine_public, stranger)
        self.security = SecuritySettings(curve_key=self.engine, curve_clients=self.clients)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def open_config(tmp_path: Path, keys: Keys, **changes: object) -> EngineConfig:
    return config(
        tmp_path,
        ingest=IngestSettings(endpoint=ANYWHERE, socket="pull", bind=True),
        output=OutputSocketSettings(endpoint=ANYWHERE, high_water_bins=1000),
        security=keys.security,
        **changes,
    )


def connected(
    context: "zmq.Context[zmq.Socket[bytes]]", kind: int, endpoint: str, curve: CurveClient | None
) -> "zmq.Socket[bytes]":
    client = context.socket(kind)
    if curve is not None:
        curve.secure(client)
    if kind == zmq.SUB:
        client.set(zmq.SUBSCRIBE, b"")
    client.set(zmq.LINGER, 0)
    client.connect(endpoint)
    return client


def test_without_a_key_nothing_gets_in_or_out(tmp_path: Path, keys: Keys) -> None:
    pipeline = FakePipeline()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with Engine(open_config(tmp_path, keys), built_with(pipeline)) as engine:
        ingest, output = reached(engine.ingest_endpoint), reached(engine.output_endpoint)
        rig = RunningRig(
            engine,
            pipeline,
            connected(context, zmq.PUSH, ingest, keys.known),
            connected(context, zmq.SUB, output, keys.known),
        )
        outsiders = [None, keys.stranger]
        pushers = [connected(context, zmq.PUSH, ingest, curve) for curve in outsiders]
        listeners = [connected(context, zmq.SUB, output, curve) for curve in outsiders]
        for push in pushers:
            push.send(b"intruder", zmq.NOBLOCK)
        rig.thread.start()
        try:
            until = time.monotonic() + 30
            while not rig.sub.poll(5) and time.monotonic() < until:
                rig.push.send(b"known")
            heard = [rig.sub.recv() for _ in range(3) if rig.push.send(b"known") is None]
            time.sleep(0.5)  # as much again as the known client needed, for what must not come
        finally:
            rig.stop.set()
            rig.thread.join()
        assert len(heard) == 3
        assert {frame for kind, frame in pipeline.taken if kind == "packet"} == {b"known"}
        assert [listener.poll(0) for listener in listeners] == [0, 0]
        context.destroy(linger=0)


def test_the_clients_of_this_package_bring_their_keys(tmp_path: Path, keys: Keys) -> None:
    pipeline = FakePipeline()
    with Engine(open_config(tmp_path, keys), built_with(pipeline)) as engine:
        ingest, output = reached(engine.ingest_endpoint), reached(engine.output_endpoint)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        running = RunningRig(engine, pipeline, context.socket(zmq.PUSH), context.socket(zmq.SUB))
        running.thread.start()
        try:
            with (
                Subscriber(output, latest=False, curve=keys.known) as subscriber,
                Rig(ingest, 30_000, 2, curve=keys.known) as rig,
            ):
                assert rig.wait_for_engine(30)
                heard = None
                until = time.monotonic() + 30
                while heard is None and time.monotonic() < until:
                    rig.send_wideband(np.zeros((30, 2), np.int16))
                    heard = subscriber.receive(timeout_ms=20)
                assert heard is not None
            with Rig(ingest, 30_000, 2, curve=keys.stranger) as stranger:
                assert not stranger.wait_for_engine(0.5)
        finally:
            running.stop.set()
            running.thread.join()
            context.destroy(linger=0)


def test_an_engine_that_connects_to_its_rig_is_the_one_that_knows_it(tmp_path: Path, keys: Keys) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    push = context.socket(zmq.PUSH)
    keys.known.secure(push)
    push.set(zmq.LINGER, 0)
    port = push.bind_to_random_port("tcp://127.0.0.1")
    # A name of this machine that is not known to be loopback.
    settings = open_config(tmp_path, keys).model_copy(
        update={"ingest": IngestSettings(endpoint=f"tcp://0.0.0.0:{port}", socket="pull", bind=False)}
    )
    pipeline = FakePipeline()
    with Engine(settings, built_with(pipeline)) as engine:
        running = RunningRig(engine, pipeline, push, context.socket(zmq.SUB))
        running.thread.start()
        try:
            assert push.poll(30_000, zmq.POLLOUT)
            push.send(b"hello")
            until = time.monotonic() + 30
            while not pipeline.taken and time.monotonic() < until:
                time.sleep(0.01)
        finally:
            running.stop.set()
            running.thread.join()
            context.destroy(linger=0)
    assert ("packet", b"hello") in pipeline.taken


def test_control_beyond_loopback_wants_a_key_too(tmp_path: Path, keys: Keys) -> None:
    with socket.create_server(("0.0.0.0", 0)) as probe:
        port = probe.getsockname()[1]
    settings = open_config(tmp_path, keys, control=f"tcp://0.0.0.0:{port}")
    with Engine(settings, built_with(FakePipeline())):
        with ControlClient(f"tcp://127.0.0.1:{port}", 0.5) as nobody:
            assert "no answer" in str(nobody.state().problem)
        with ControlClient(f"tcp://127.0.0.1:{port}", 30, keys.known) as known:
            assert known.state().problem is None


def test_a_key_that_is_taken_out_of_the_folder_lets_nobody_in_again(tmp_path: Path, keys: Keys) -> None:
    server = curve_server(open_config(tmp_path, keys))
    assert server is not None
    public = keys.known.keys.public
    assert server.knows(public)
    (keys.clients / "known.key").unlink()
    until = time.monotonic() + 30
    while server.knows(public) and time.monotonic() < until:
        time.sleep(0.05)
    assert not server.knows(public)


@pytest.mark.parametrize("which", ["ingest", "output", "control"])
def test_no_endpoint_beyond_loopback_opens_without_keys(tmp_path: Path, which: str) -> None:
    endpoints: dict[str, object] = {
        "ingest": IngestSettings(endpoint="tcp://rig.example:5555"),
        "output": OutputSocketSettings(endpoint=ANYWHERE),
        "control": "tcp://127.0.0.1.example:5557",
    }
    changes = {which: endpoints[which]}
    with pytest.raises(StartupError, match=rf"{which}.*expected security.curve_key"):
        Engine(config(tmp_path, **changes), built_with(FakePipeline())).prepare()
    assert curve_server(config(tmp_path, **changes, security=SecuritySettings(insecure=True))) is None


def test_keys_are_the_owners_alone(tmp_path: Path) -> None:
    public, secret = write_keys(tmp_path / "keys", "one")
    assert [path.stat().st_mode & 0o777 for path in (public, secret)] == [0o600, 0o600]
    assert read_public_key(public) == read_keys(secret).public
    assert secret.read_text().split('secret-key = "')[1][:40] not in repr(read_keys(secret))
    with pytest.raises(ConfigError, match="without keys"):
        write_keys(tmp_path / "keys", "one")
    with pytest.raises(ConfigError, match="key pair"):
        read_keys(public)
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_keys(secret)
    with pytest.raises(ConfigError, match="cannot read"):
        read_public_key(tmp_path / "none.key")
