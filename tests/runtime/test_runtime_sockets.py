from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from cortexwire.config import IngestSettings, OutputSocketSettings
from cortexwire.errors import ConfigError
from cortexwire.runtime.ingest import Ingest
from cortexwire.runtime.publisher import MESSAGES_PER_BIN, Publisher

Context = zmq.Context[zmq.Socket[bytes]]
Make = Callable[[int], zmq.Socket[bytes]]
WAIT_MS = 5000


@pytest.fixture
def context() -> Iterator[Context]:
    made: Context = zmq.Context()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def socket(context: Context) -> Iterator[Make]:
    made: list[zmq.Socket[bytes]] = []

    def make(kind: int) -> zmq.Socket[bytes]:
        made.append(context.socket(kind))
        made[-1].set(zmq.RCVTIMEO, WAIT_MS)
        if kind == zmq.SUB:
            made[-1].set(zmq.SUBSCRIBE, b"")
        return made[-1]

    yield make
    for each in made:
        each.close(0)


@pytest.mark.parametrize("scheme", ["tcp://127.0.0.1:*", "ipc"])
@pytest.mark.parametrize("binds", [True, False])
def test_a_pull_socket_takes_every_message_in_order(
    context: Context, socket: Make, tmp_path: Path, scheme: str, binds: bool
) -> None:
    endpoint = f"ipc://{tmp_path}/in" if scheme == "ipc" else scheme
    sender = socket(zmq.PUSH)
    if binds:
        ingest = Ingest(IngestSettings(endpoint=endpoint, socket="pull", bind=True), context)
        sender.connect(ingest.endpoint)
    else:
        sender.bind(endpoint)
        ingest = Ingest(IngestSettings(endpoint=sender.get_string(zmq.LAST_ENDPOINT), socket="pull"), context)
    for number in range(50):
        sender.send(b"%d" % number)
    assert [ingest.receive(WAIT_MS) for _ in range(50)] == [b"%d" % number for number in range(50)]
    assert ingest.try_receive() is None
    assert ingest.receive(0) is None
    assert ingest.receive(1) is None
    ingest.close()


def test_a_full_pull_socket_makes_the_sender_wait_and_loses_nothing(context: Context, socket: Make) -> None:
    settings = IngestSettings(endpoint="tcp://127.0.0.1:*", socket="pull", bind=True, high_water_ms=4.0, packet_ms=1.0)
    ingest = Ingest(settings, context)
    sender = socket(zmq.PUSH)
    sender.set(zmq.SNDHWM, 1)
    sender.set(zmq.SNDBUF, 65536)
    sender.connect(ingest.endpoint)
    sent = 0
    while sender.poll(100, zmq.POLLOUT):
        sender.send(sent.to_bytes(4, "little") + bytes(1_000_000))
        sent += 1
    assert sent < 100
    got = []
    while (frame := ingest.receive(500)) is not None:
        got.append(int.from_bytes(frame[:4], "little"))
    assert got == list(range(sent))
    ingest.close()


def test_a_sub_socket_takes_all_subjects(context: Context, socket: Make) -> None:
    sender = socket(zmq.XPUB)
    sender.bind("tcp://127.0.0.1:*")
    ingest = Ingest(IngestSettings(endpoint=sender.get_string(zmq.LAST_ENDPOINT)), context)
    assert sender.recv() == b"\x01"
    sender.send(b"CXW1...")
    sender.send(b"garbage")
    assert [ingest.receive(WAIT_MS), ingest.receive(WAIT_MS)] == [b"CXW1...", b"garbage"]
    ingest.close()


@pytest.mark.parametrize(
    ("endpoint", "bind", "verb"),
    [
        ("tcp://256.0.0.1:1", True, "bind"),
        ("tcp://nowhere", False, "connect to"),
        ("tcp://1.2.3.4:99999", True, "bind"),
    ],
)
def test_an_endpoint_that_cannot_be_had_is_named(context: Context, endpoint: str, bind: bool, verb: str) -> None:
    with pytest.raises(ConfigError, match=f"ingest.endpoint: cannot {verb} {endpoint}: "):
        Ingest(IngestSettings(endpoint=endpoint, bind=bind), context)
    with pytest.raises(ConfigError, match=f"output.endpoint: cannot {verb} {endpoint}: "):
        Publisher(OutputSocketSettings(endpoint=endpoint, bind=bind), context)


def test_every_subscriber_gets_each_output(context: Context, socket: Make) -> None:
    publisher = Publisher(OutputSocketSettings(endpoint="tcp://127.0.0.1:*", high_water_bins=100), context)
    subscribers = [socket(zmq.SUB) for _ in range(2)]
    for subscriber in subscribers:
        subscriber.connect(publisher.endpoint)
        while not subscriber.poll(10):
            publisher.send(b"hello")
    publisher.send(b"end")
    for subscriber in subscribers:
        while subscriber.recv() != b"end":
            pass
    assert publisher.sent_bytes == 5 * (publisher.sent - 1) + 3
    publisher.close()


def test_sending_never_waits_for_a_subscriber_that_sleeps(context: Context, socket: Make) -> None:
    publisher = Publisher(OutputSocketSettings(endpoint="tcp://127.0.0.1:*"), context)
    sleeper = socket(zmq.SUB)
    sleeper.set(zmq.RCVHWM, MESSAGES_PER_BIN)
    sleeper.set(zmq.RCVBUF, 4096)
    sleeper.connect(publisher.endpoint)
    while not sleeper.poll(10):
        publisher.send(bytes(2000))
    for _ in range(20_000):
        publisher.send(bytes(2000))
    queued = 0
    while sleeper.poll(100):
        sleeper.recv()
        queued += 1
    assert queued < 1000
    publisher.close()


def test_a_publisher_may_connect_to_a_hub(context: Context, socket: Make) -> None:
    hub = socket(zmq.SUB)
    hub.bind("tcp://127.0.0.1:*")
    publisher = Publisher(OutputSocketSettings(endpoint=hub.get_string(zmq.LAST_ENDPOINT), bind=False), context)
    while not hub.poll(10):
        publisher.send(b"x")
    publisher.close()
