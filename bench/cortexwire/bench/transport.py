"""What the ways between processes cost by themselves, for packets of 1 ms: one way, and there and back.

Three processes as in the service: a source paced like a rig, a relay in the place of the engine that does nothing but
answer, a sink in the place of a subscriber. The answer is as long as an output. All links take turns, beside a bare
sleeper.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.bench.environment import environment_record
from cortexwire.bench.latency import percentiles
from cortexwire.bench.links import LINKS, LinkKind
from cortexwire.bench.live import Child, short_folder
from cortexwire.types import Rate
from cortexwire.wire import OutKind, Output, PacketEncoder, encode_output

CHANNELS: Final = (96, 256, 1024)
SECONDS: Final = 5.0
TURNS: Final = 2
LEAD: Final = 500
"""Messages before the first that counts."""
RATE: Final = Rate(30_000)
PACKET: Final = 30
_MODULE: Final = "cortexwire.bench.relay"
_LINGER_S: Final = 0.3


@dataclass(frozen=True, eq=False)
class _Turn:
    one_way_us: np.ndarray
    there_and_back_us: np.ndarray
    lost: int
    answers_lost: int
    refused: int
    relay_share: float
    sleeper_us: np.ndarray


def run_transport(
    channels: Sequence[int] = CHANNELS,
    seconds: float = SECONDS,
    *,
    links: Sequence[LinkKind] = LINKS,
    turns: int = TURNS,
) -> dict[str, Any]:
    """Measure links with packets of so many channels at 1000 a second.

    Args:
        channels: Numbers of channels, one after the other.
        seconds: How long each turn of each link is measured.
        links: Which links.
        turns: Turns of each link.

    Returns:
        JSON-able: the environment, and for each number of channels what each link did, in microseconds.

    Raises:
        RunError: A process failed.
    """
    return {
        "environment": environment_record(),
        "what": "packets of 1 ms at 1 kHz: sent to received, and sent to answer received, microseconds",
        "seconds": seconds,
        "turns": turns,
        "results": [_measure(n, seconds, links, turns) for n in channels],
    }


def packet_bytes(channels: int) -> int:
    """Length of a packet of 1 ms of int16 samples."""
    encoder = PacketEncoder(RATE, channels, None, 0.25, epoch=1)
    return len(encoder.wideband(0, np.zeros((PACKET, channels), np.int16), acquired_ns=0, sent_ns=0))


def output_bytes(channels: int) -> int:
    """Length of an output with velocity and counts."""
    tensors: dict[str, NDArray[Any]] = {"velocity": np.zeros(2, np.float32), "counts": np.zeros(channels, np.uint16)}
    return len(encode_output(Output(OutKind.DECODED, 1, 0, 0, tensors=tensors)))


def _measure(channels: int, seconds: float, links: Sequence[LinkKind], turns: int) -> dict[str, Any]:
    found: dict[LinkKind, list[_Turn]] = {kind: [] for kind in links}
    for _ in range(turns):
        for kind in links:
            found[kind].append(_take_turn(kind, channels, seconds))
    return {
        "channels": channels,
        "bytes": packet_bytes(channels),
        "answer_bytes": output_bytes(channels),
        "sleeper_us": percentiles(np.concatenate([turn.sleeper_us for taken in found.values() for turn in taken])),
        "links": {kind: _describe(taken) for kind, taken in found.items()},
    }


def _describe(turns: Sequence[_Turn]) -> dict[str, Any]:
    return {
        "one_way_us": percentiles(np.concatenate([turn.one_way_us for turn in turns])),
        "echo_us": percentiles(np.concatenate([turn.there_and_back_us for turn in turns])),
        "lost": sum(turn.lost for turn in turns),
        "answers_lost": sum(turn.answers_lost for turn in turns),
        "refused": sum(turn.refused for turn in turns),
        "relay_core_share": round(float(np.mean([turn.relay_share for turn in turns])), 4),
    }


def _take_turn(kind: LinkKind, channels: int, seconds: float) -> _Turn:
    messages = round(1000 * seconds)
    with short_folder() as folder, ExitStack() as opened:
        place = {"kind": kind, "folder": str(folder)}
        sink = opened.enter_context(Child("sink", place, _MODULE))
        reply = {"endpoint": sink.ready["endpoint"], "reply": output_bytes(channels)}
        relay = opened.enter_context(Child("relay", place | reply, _MODULE))
        sleeper = opened.enter_context(Child("sleep", {}))
        sent = {"size": packet_bytes(channels), "messages": LEAD + messages, "linger_s": _LINGER_S}
        source = {"kind": kind, "endpoint": relay.ready["endpoint"]} | sent
        said = opened.enter_context(Child("source", source, _MODULE)).result(seconds + 60)
        slept = sleeper.stop()["over_ns"]
        relayed, answered = relay.stop(), sink.stop()["rows"]
    there, back = (_counted(rows) for rows in (relayed["rows"], answered))
    return _Turn(
        one_way_us=(there[:, 2] - there[:, 1]) / 1e3,
        there_and_back_us=(back[:, 2] - back[:, 1]) / 1e3,
        lost=messages - len(there),
        answers_lost=len(there) - len(back),
        refused=said["refused"],
        relay_share=relayed["core_share"],
        sleeper_us=np.array(slept) / 1e3,
    )


def _counted(rows: list[list[int]]) -> np.ndarray:
    """Number, time of sending and of receipt of the messages after the lead."""
    table = np.array(rows, np.int64).reshape(-1, 3)
    return table[table[:, 0] >= LEAD]
