"""The injector: puts faults between a rig and the engine, each at a place of its own, and enters them in a ledger.

A place is a run of packets that no other fault touches, so that what a fault adds to the counters does not depend on
its neighbours. What they do to the samples does (two gaps may touch), so that is worked out from the samples that are
left, in `marks`. The beginning of a stream is left alone, because a stream has to be recognised before it can be
disturbed, and so is its end, because nobody can miss what nothing follows.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np
from numpy.typing import NDArray

from cortexwire.bench.faults.damage import cut, garbage, wrong_channels
from cortexwire.bench.faults.ledger import Ledger
from cortexwire.bench.faults.marks import BinRules, Expected, expected_bins
from cortexwire.bench.faults.rig import Sent, Stream

_TAIL = 40
"""Packets at the end of a stream that are left alone."""


@dataclass(frozen=True)
class FaultMix:
    """How many faults of each class a whole injection has, spread over its streams.

    Attributes:
        drop_share: Share of all packets that are lost one by one.
        lost_runs: Runs of lost packets.
        lost_run_ms: Length of each of these runs, in milliseconds of signal.
        duplicates: Packets that come twice, at once or up to `farthest` packets later.
        swaps: Neighbours that come in the other order.
        delays: Packets that come 2 to `farthest` packets late.
        farthest: Longest delay, in packets.
        truncated: Packets of which only a beginning comes.
        truncated_copies: Beginnings of packets that come besides the packet.
        garbage: Messages that are no packets, of every class in turn.
        garbled: Packets in whose place such a message comes.
        wrong_channels: Signal packets that come with another number of channels.
        wrong_channel_copies: Such packets that come besides the right one.
        stragglers: Packets of each epoch that come only after the next epoch has begun.
        lead_s: Beginning of each stream that is left alone.
    """

    drop_share: float = 0.001
    lost_runs: int = 1
    lost_run_ms: float = 50.0
    duplicates: int = 6
    swaps: int = 3
    delays: int = 3
    farthest: int = 9
    truncated: int = 3
    truncated_copies: int = 5
    garbage: int = 18
    garbled: int = 2
    wrong_channels: int = 2
    wrong_channel_copies: int = 3
    stragglers: int = 3
    lead_s: float = 1.0


@dataclass(frozen=True)
class Injection:
    """What is to be sent, and what must follow.

    Attributes:
        frames: Messages in the order of sending.
        ledger: What was done.
        used: For each stream, the packets that the engine can use.
    """

    frames: tuple[bytes, ...]
    ledger: Ledger
    used: dict[tuple[int, int], tuple[Sent, ...]]

    def expected(self, rules: BinRules) -> dict[tuple[int, int], Expected]:
        """The bins of each stream."""
        return {
            key: expected_bins([(sent.start, sent.stop) for sent in packets if sent.signal], rules)
            for key, packets in self.used.items()
        }

    def counters(self, rules: BinRules) -> Counter[str]:
        """Every counter of the pipeline that is not 0, safe outputs of ends of streams included."""
        total = self.ledger.total()
        for expected in self.expected(rules).values():
            total.update(expected.counters)
        return Counter({name: count for name, count in total.items() if count})


def inject(streams: Sequence[Stream], mix: FaultMix, seed: int) -> Injection:
    """Disturb streams that a rig sends one after the other.

    Args:
        streams: What the rig sends; each as long as its share of the faults needs.
        mix: What goes wrong.
        seed: Draws where.

    Raises:
        ValueError: There is not enough room for so many faults.
    """
    rng = np.random.default_rng(seed)
    ledger = Ledger()
    tracks = [_Track(stream, mix, rng, ledger) for stream in streams]
    room = np.array([track.room for track in tracks], np.float64)
    for fault, times in _faults(mix, sum(len(stream.packets) for stream in streams)):
        for at in rng.choice(len(tracks), times, p=room / room.sum()).tolist():
            tracks[at].disturb(fault)
    _restarts(tracks, mix, ledger)
    frames = tuple(frame for track in tracks for slot in track.slots for frame in slot)
    used = {track.stream.key: tuple(track.used()) for track in tracks}
    return Injection(frames, ledger, used)


def _faults(mix: FaultMix, n_packets: int) -> list[tuple[str, int]]:
    """Faults in the order in which they look for room: the longest first."""
    return [
        ("lost run", mix.lost_runs),
        ("delayed", mix.delays),
        ("duplicated", mix.duplicates),
        ("swapped", mix.swaps),
        ("dropped", round(mix.drop_share * n_packets)),
        ("truncated", mix.truncated),
        ("truncated copy", mix.truncated_copies),
        ("garbled", mix.garbled),
        ("garbage", mix.garbage),
        ("wrong channels", mix.wrong_channels),
        ("wrong channels copy", mix.wrong_channel_copies),
    ]


def _restarts(tracks: Sequence["_Track"], mix: FaultMix, ledger: Ledger) -> None:
    for before, after in pairwise(tracks):
        if before.stream.epoch == after.stream.epoch:
            ledger.enter("restart in the same epoch", restarts_same_epoch=1)
            continue
        ledger.enter("restart", restarts=1)
        late = before.hold_back(mix.stragglers)
        after.slots[len(late)].extend(late)
        ledger.enter("straggler of an old epoch", len(late), accepted=-1, old_epoch=1)


class _Track:
    """One stream on its way: for each packet of the rig, the messages that come in its place."""

    def __init__(self, stream: Stream, mix: FaultMix, rng: np.random.Generator, ledger: Ledger) -> None:
        self.stream = stream
        self.slots = [[sent.frame] for sent in stream.packets]
        self._mix, self._rng, self._ledger = mix, rng, ledger
        self._signal = np.array([sent.signal for sent in stream.packets])
        self._used = np.ones(len(stream.packets), np.bool_)
        self._garbage = int(rng.integers(0, 9))
        n_samples = sum(sent.stop - sent.start for sent in stream.packets)
        self._run = ceil(mix.lost_run_ms / 1000 * stream.rate.hz * len(stream.packets) / n_samples)
        lead_end = mix.lead_s * stream.rate.hz
        lead = next((k for k, sent in enumerate(stream.packets) if sent.start >= lead_end), len(self.slots))
        self._free = np.zeros(len(stream.packets), np.bool_)
        self._free[lead : len(self.slots) - _TAIL] = True
        ledger.enter("sent", len(stream.packets), accepted=1)

    @property
    def room(self) -> int:
        """Packets that may be disturbed."""
        return int(self._free.sum())

    def used(self) -> list[Sent]:
        """Packets of which the engine gets to see the samples."""
        return [sent for sent, used in zip(self.stream.packets, self._used, strict=True) if used]

    def hold_back(self, n: int) -> list[bytes]:
        """Take the last packets out, to be sent later."""
        late = [frame for slot in self.slots[-n:] for frame in slot] if n else []
        for slot in self.slots[len(self.slots) - n :]:
            slot.clear()
        self._used[len(self._used) - n :] = False
        return late

    def disturb(self, fault: str) -> None:
        """Put one fault somewhere."""
        match fault:
            case "lost run":
                at = self._place(self._run)
                for k in range(at, at + self._run):
                    self._lose(k)
                self._ledger.enter(fault, accepted=-self._run, lost_packets=self._run)
            case "dropped":
                self._lose(self._place(1))
                self._ledger.enter(fault, accepted=-1, lost_packets=1)
            case "delayed" | "swapped":
                later = 1 if fault == "swapped" else int(self._rng.integers(2, self._mix.farthest + 1))
                at = self._place(later + 1)
                self.slots[at + later] += self.slots[at]
                self._lose(at)
                self._ledger.enter(fault, accepted=-1, reordered=1, reordered_unused=1)
            case "duplicated":
                later = int(self._rng.integers(0, self._mix.farthest + 1))
                at = self._place(later + 1)
                self.slots[at + later].append(self.slots[at][0])
                self._ledger.enter(fault, duplicates=1)
            case "truncated" | "garbled":
                at = self._place(1)
                frame, reason = self._bad(self.slots[at][0], fault)
                self.slots[at] = [frame]
                self._used[at] = False
                malformed = {f"malformed_{reason}": 1}
                self._ledger.enter(f"{fault} ({reason})", accepted=-1, lost_packets=1, **malformed)
            case "truncated copy" | "garbage":
                at = self._place(1)
                frame, reason = self._bad(self.slots[at][0], fault)
                self.slots[at].insert(int(self._rng.integers(0, 2)), frame)
                self._ledger.enter(f"{fault} ({reason})", **{f"malformed_{reason}": 1})
            case "wrong channels":
                at = self._place(1, signal=True)
                self.slots[at] = [wrong_channels(self.slots[at][0])]
                self._used[at] = False
                self._ledger.enter(fault, accepted=-1, lost_packets=1, mismatched=1)
            case "wrong channels copy":
                at = self._place(1, signal=True)
                self.slots[at].insert(int(self._rng.integers(0, 2)), wrong_channels(self.slots[at][0]))
                self._ledger.enter(fault, mismatched=1)

    def _bad(self, frame: bytes, fault: str) -> tuple[bytes, str]:
        if fault.startswith("truncated"):
            return cut(frame, self._rng)
        self._garbage += 1
        return garbage(frame, self._garbage, self._rng)

    def _lose(self, at: int) -> None:
        self.slots[at] = []
        self._used[at] = False

    def _place(self, n: int, *, signal: bool = False) -> int:
        """Draw a run of `n` packets that nothing has touched, with one on each side, and take it."""
        windows = np.lib.stride_tricks.sliding_window_view(self._free, n + 2)
        free: NDArray[np.bool_] = np.logical_and.reduce(windows, axis=1)
        if signal:
            free &= self._signal[1 : 1 + len(free)]
        places = np.flatnonzero(free)
        if not len(places):
            raise ValueError(f"expected room for {n} more packets in {len(self.slots)}, got none")
        at = int(self._rng.choice(places)) + 1
        self._free[at : at + n] = False
        return at
