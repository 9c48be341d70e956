"""Links carry every message whole, and a measurement accounts for each."""

import json
import time
from pathlib import Path

import pytest

from cortexwire.bench import transport
from cortexwire.bench.links import LINKS, LinkKind, open_receiver, open_sender
from cortexwire.bench.live import short_folder
from cortexwire.bench.transport import output_bytes, packet_bytes, run_transport


@pytest.mark.parametrize("kind", LINKS)
def test_a_link_carries_messages_in_order(kind: LinkKind) -> None:
    sizes = [16, 5888, 61_568]
    with short_folder() as folder:
        receiver = open_receiver(kind, folder, "in")
        sender = open_sender(kind, receiver.endpoint)
        try:
            assert receiver.receive(1) is None
            heard = 0
            until = time.monotonic() + 10
            while not heard and time.monotonic() < until:  # a subscription takes a moment to stand
                sender.send(bytearray(8))
                heard = len(receiver.receive(20) or b"")
            while receiver.receive(20) is not None:
                pass
            for size in sizes:
                assert sender.send(bytearray(size))
            assert [len(receiver.receive(1000) or b"") for _ in sizes] == sizes
        finally:
            sender.close()
            receiver.close()


def test_a_transport_run_accounts_for_every_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "LEAD", 200)
    found = run_transport((8,), seconds=0.3, links=("pub-sub tcp", "unix seqpacket"), turns=1)
    json.dumps(found)
    (result,) = found["results"]
    assert result["bytes"] == packet_bytes(8) == 128 + 2 * 30 * 8
    assert result["answer_bytes"] == output_bytes(8)
    for link in result["links"].values():
        assert link["lost"] == link["answers_lost"] == 0
        assert 0 < link["one_way_us"]["p50"] < link["echo_us"]["p50"]
        assert link["relay_core_share"] > 0


def test_an_output_is_as_long_as_one_of_a_service(tmp_path: Path) -> None:
    assert output_bytes(96) > output_bytes(8) > 144
