"""The live stream: what a frame holds, and that nobody who watches holds up anybody."""

import json
import socket
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import websockets.sync.client as ws
from numpy.typing import NDArray

from cortexwire.api.frames import FIRST, LOOK_BACK_NS, Place, pack, unpack
from cortexwire.api.history import KEPT_BINS, Outputs
from cortexwire.api.tail import Tail
from cortexwire.runtime.tap import TapWriter
from cortexwire.types import Rate
from cortexwire.wire import OutKind, Output, PacketEncoder, RecordKind
from cortexwire.wire.descriptor import Descriptor, Electrode
from tests.api.serving import Served, engine_and_api, serving, settings


def live(api: Served, fps: int = 20) -> ws.ClientConnection:
    return ws.connect(api.url.replace("http", "ws") + f"/v1/live?fps={fps}")


def frame(stream: ws.ClientConnection) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    message = stream.recv(timeout=30)
    assert isinstance(message, bytes)
    return unpack(message)


def test_a_frame_is_laid_out_as_documented() -> None:
    arrays: dict[str, NDArray[Any]] = {"a": np.arange(3, dtype=np.uint8), "b": np.ones((2, 2), np.float32)}
    arrays["c"] = np.zeros((0, 5), np.int32)
    message = pack({"text": "é"}, arrays)
    length = int.from_bytes(message[:4], "little")
    head = json.loads(message[4 : 4 + length])
    assert length % 4 == 0
    for entry, (name, array) in zip(head["arrays"], arrays.items(), strict=True):
        assert entry["name"] == name
        assert entry["offset"] % 4 == 0
        assert entry["shape"] == list(array.shape)
        there = message[entry["offset"] : entry["offset"] + array.nbytes]
        assert there == array.tobytes()
    assert {name: array.tolist() for name, array in unpack(message)[1].items()} == {
        name: array.tolist() for name, array in arrays.items()
    }


def test_every_bin_comes_once_and_in_order(tmp_path: Path) -> None:
    with engine_and_api(tmp_path) as api, live(api) as stream:
        head, arrays = frame(stream)
        assert head["electrodes"] == []
        seen = arrays["bins"].tolist()
        give_up = time.monotonic() + 30
        while len(seen) < 40 and time.monotonic() < give_up:
            for _ in range(3):
                api.rig.push.send(b"frame")
            head, arrays = frame(stream)
            assert "electrodes" not in head
            assert arrays["velocity"].tolist() == [[bin_, -bin_] for bin_ in arrays["bins"].tolist()]
            assert len(arrays["latency_us"]) == len(arrays["bins"])
            seen += arrays["bins"].tolist()
        assert seen == list(range(seen[0], seen[0] + len(seen)))
        assert arrays["threshold_uv"].tolist() == [-1.0, -2.0]


def test_frames_come_also_when_nothing_does(tmp_path: Path) -> None:
    with serving(settings(tmp_path)) as api, live(api, fps=60) as stream:
        heads = [frame(stream)[0] for _ in range(5)]
        assert all(head["stale"] and head["engine"]["writer"] == "absent" for head in heads)
        assert [b["seq"] - a["seq"] for a, b in pairwise(heads)] == [1] * 4


def test_viewers_of_one_rate_share_a_frame(tmp_path: Path) -> None:
    with engine_and_api(tmp_path) as api, live(api, 10) as one, live(api, 10) as two:
        for stream in (one, two):
            frame(stream)
        ours = {frame(one)[0]["seq"] for _ in range(10)}
        theirs = {frame(two)[0]["seq"] for _ in range(10)}
        assert ours & theirs


@pytest.mark.parametrize("fps", [0, 61, "x"])
def test_a_rate_that_cannot_be_is_refused(tmp_path: Path, fps: object) -> None:
    with serving(settings(tmp_path)) as api:
        assert api.get("/v1/events", params={"fps": fps}).status_code == 422
        with pytest.raises(Exception, match=r"403|422|rejected"):
            ws.connect(api.url.replace("http", "ws") + f"/v1/live?fps={fps}")


def test_events_are_json_without_arrays(tmp_path: Path) -> None:
    with engine_and_api(tmp_path) as api, api.client.stream("GET", "/v1/events", params={"fps": 30}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in stream.iter_lines() if line)
        for _ in range(3):
            api.rig.push.send(b"frame")
            event = json.loads(next(lines).removeprefix("data: "))
            assert event["engine"]["writer"] == "live"
            assert "arrays" not in event
        assert event["last_output"]["kind"] == "decoded"


def test_only_so_many_watch_at_a_time(tmp_path: Path) -> None:
    with serving(settings(tmp_path, api={"viewers": 2})) as api, ExitStack() as watching:
        streams = [watching.enter_context(live(api)) for _ in range(2)]
        for stream in streams:
            frame(stream)
        with live(api) as third, pytest.raises(Exception, match="1013"):
            third.recv(timeout=30)
        assert api.get("/v1/events").status_code == 503
        streams[0].close()
        give_up = time.monotonic() + 30
        while time.monotonic() < give_up:
            with live(api) as again:
                try:
                    frame(again)
                    break
                except Exception:
                    time.sleep(0.1)
        else:
            pytest.fail("the place of a viewer that left was not given away")


def test_a_stuck_viewer_holds_up_nobody_and_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shakes hands, and never reads again; its connection is given up, and what waited for it with it."""
    monkeypatch.setattr("cortexwire.api.routes.live.STUCK_S", 1.0)
    monkeypatch.setattr("cortexwire.api.server._GIVE_UP_MS", 1000)
    with engine_and_api(tmp_path) as api, live(api, fps=60) as healthy:
        port = int(api.url.rpartition(":")[2])
        with socket.socket() as stuck:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.connect(("127.0.0.1", port))
            stuck.sendall(
                b"GET /v1/live?fps=60 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            give_up = time.monotonic() + 60
            gaps: list[float] = []
            while connections_to(port, stuck.getsockname()[1]) and time.monotonic() < give_up:
                began = time.monotonic()
                frame(healthy)
                gaps.append(time.monotonic() - began)
            assert not connections_to(port, stuck.getsockname()[1]), "the stuck viewer was never let go"
        assert len(gaps) > 10
        assert api.get("/v1/state").status_code == 200
        api.until("/v1/state", lambda state: state["engine"]["writer"] == "live")


def connections_to(server: int, client: int) -> bool:
    """Whether the kernel still has the server's end of a connection."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ends = {tuple(int(end.rpartition(":")[2], 16) for end in line.split()[1:3]): line.split()[3] for line in lines}
    established = "01"
    return ends.get((server, client)) == established


def test_rows_that_a_viewer_missed_come_with_its_next_frame() -> None:
    outputs = Outputs()
    for index in range(10):
        tensors: dict[str, NDArray[Any]] = {
            "velocity": np.full(2, index, np.float32),
            "counts": np.array([index * 40, 1], np.uint16),
        }
        outputs.put(Output(OutKind.DECODED, 1, index, 0, tensors=tensors), time.monotonic_ns())
    oldest = time.monotonic_ns() - LOOK_BACK_NS
    rows = outputs.bins.since(4, oldest)
    assert rows["bin"].tolist() == [4, 5, 6, 7, 8, 9]
    assert rows["counts"][-1].tolist() == [255, 1]
    assert outputs.bins.since(FIRST.bins, oldest)["bin"].tolist() == list(range(10))
    assert outputs.bins.since(Place(10).bins, oldest)["bin"].tolist() == []
    assert outputs.bins.since(0, time.monotonic_ns() + 1)["bin"].tolist() == []


def test_memory_of_bins_is_bounded_and_follows_the_channels() -> None:
    outputs = Outputs()
    for index in range(KEPT_BINS + 10):
        outputs.put(Output(OutKind.DECODED, 1, index, 0, tensors={"velocity": np.zeros(2, np.float32)}), 1 + index)
    assert outputs.bins.since(0, 0)["bin"].tolist() == list(range(10, KEPT_BINS + 10))
    wide: dict[str, NDArray[Any]] = {"velocity": np.zeros(2, np.float32), "counts": np.ones(5, np.uint16)}
    outputs.put(Output(OutKind.DECODED, 1, 7, 0, tensors=wide), 9999)
    assert outputs.bins.since(0, 1)["counts"].shape == (1, 5)
    outputs.put(Output(OutKind.SAFE, 1, 8, 0, tensors=wide), 9999)
    assert outputs.bins.since(0, 1)["bin"].tolist() == [7]
    assert len(outputs.messages) == outputs.messages.maxlen


def test_columns_and_electrodes_come_from_the_rig(tmp_path: Path) -> None:
    described = Descriptor("rig", (Electrode("e1", "A"), Electrode("e2", "B")), columns=("x", "y"))
    encoder = PacketEncoder(Rate(30000), 2, described, 1.0)
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    writer = TapWriter(tmp_path / "ring", 1)
    writer.append(RecordKind.PACKET, 1, encoder.descriptor_packet(0))
    for index in range(100):
        writer.append(RecordKind.PACKET, 1, encoder.wideband(index * 30, np.zeros((30, 2), np.int16), 0))
    writer.append(RecordKind.PACKET, 5, encoder.columns(600, np.array([0, 10, 20]), values))
    tail = Tail(tmp_path / "ring")
    assert not tail.follow()
    rows = tail.columns.rows.since(0, 0)
    assert tail.descriptor == described
    assert rows["values"].tolist() == values.tolist()
    assert rows["sample"].tolist() == [600, 610, 620]
    assert (tail.lost, tail.damaged) == (0, 0)
    tail.close()
    writer.close()
