"""From packets as they arrive to one ordered list: what came, what did not, what came twice.

Sequence numbers say whether a *packet* is missing, repeated or late; sample indices say which *samples* are
missing. The two are kept apart, because a rig can skip samples without losing a packet and lose a packet
without samples. Nothing waits for a missing packet unless `reorder_window_packets` says so: its samples are a
gap at once, and if it comes after all it is counted and not used, since the bins that it belongs to are
already decided.

The rules, in the order in which they are applied to a packet:

1. an epoch that has already ended: `old_epoch`, dropped;
2. a signal packet that does not fit the stream: `mismatched`, treated as if it had not come (so its sequence
   number becomes `lost` when the next packet comes);
3. an epoch never seen: a `Restart`; the stream may begin at any sequence number and sample index. Where a stream
   runs, only a signal packet that fits ends it: a descriptor or marker of another epoch is kept until one comes, so
   that a stray sender ends nothing;
4. sequence number as expected: passed on; above: the numbers between are lost (or waited for);
5. below: `reordered` if it was missing, else `duplicates`. A run of such packets in a row with consecutive
   sequence numbers is a rig that restarted in its epoch: a `Restart` with the next incarnation, then the
   whole run;
6. samples that came before are dropped. A run of packets in a row that hold nothing else, each beginning where the
   one before ended, is a device whose sample counter began again: a `Restart` likewise.
"""

from collections.abc import Callable, Sequence

from cortexwire.pipeline.counters import Counters
from cortexwire.pipeline.expectation import FURTHEST_SAMPLE, Expectation, Shape
from cortexwire.pipeline.items import Aux, End, Gap, Item, Restart, Span
from cortexwire.pipeline.rerun import Rerun, owned
from cortexwire.pipeline.sequence import MissingRanges
from cortexwire.pipeline.settings import IntakeSettings
from cortexwire.types import Rate
from cortexwire.wire.codes import Kind
from cortexwire.wire.packets import Packet

MAX_EPOCHS = 1024
"""Ended epochs remembered; the oldest is forgotten first."""

MAX_EARLY = 64
"""Packets of an epoch that has not begun that are kept; the oldest is dropped first, as `old_epoch`."""

_SIGNAL = frozenset((Kind.WIDEBAND, Kind.EVENTS, Kind.COUNTS))


class Intake:
    """Orders the packets of one source.

    Args:
        settings: When to wait, and when a stream has restarted.
        counters: Where to count; a fresh object when not given.

    Attributes:
        counters: The counts.
        last_fault: The last packet that was refused, in words; empty when there was none.
    """

    def __init__(self, settings: IntakeSettings, counters: Counters | None = None) -> None:
        self.counters = counters or Counters()
        self.last_fault = ""
        self._window = settings.reorder_window_packets
        self._run_length = settings.restart_run_packets
        self._expectation = Expectation(Shape())
        self._epoch: int | None = None
        self._ended: dict[int, None] = {}
        self._incarnation = 0
        self._base = 0
        self._expected = 0
        self._position: int | None = None
        self._missing = MissingRanges()
        self._held: dict[int, Packet] = {}
        self._rerun = Rerun(self.counters)
        self._back: list[Packet] = []
        self._early: list[Packet] = []

    @property
    def position(self) -> int | None:
        """Sample index at which the next span or gap begins; None before a stream's first signal packet."""
        return self._position

    def expect(
        self,
        kind: Kind | None = None,
        n_channels: int | None = None,
        rate: Rate | None = None,
        uv_per_bit: float | None = None,
        furthest: int = FURTHEST_SAMPLE,
        within: Callable[[Packet], str | None] | None = None,
    ) -> None:
        """Say what signal packets have to look like; None leaves it to the first one of an epoch; see `Shape`."""
        self._expectation = Expectation(Shape(kind, n_channels, rate, uv_per_bit, None, furthest, within))

    @property
    def undisturbed(self) -> bool:
        """Whether nothing is held back, and nothing hints at a restart."""
        return not (self._held or self._rerun or self._back) and self._position is not None

    @property
    def expected(self) -> int:
        """Sequence number of the next packet."""
        return self._expected

    def go_on(self, n_samples: int) -> None:
        """A signal packet came that goes on as the last one did; `undisturbed` was true before it."""
        assert self._position is not None
        self._expected += 1
        self._position += n_samples
        self.counters.accepted += 1

    def malformed(self, reason: str, message: str = "") -> None:
        """Count a frame that is no packet.

        Args:
            reason: `PacketError.reason`.
            message: The error in words, kept as `last_fault`.
        """
        malformed = self.counters.malformed
        malformed[reason] += 1
        self.last_fault = message or self.last_fault

    def accept(self, packet: Packet) -> Sequence[Item]:
        """Take one packet.

        Its data may be used by the caller until the next call; whatever has to live longer is copied.

        Returns:
            What may be used now, in order; often one `Span`, possibly nothing.
        """
        items: list[Item] = []
        signal = packet.kind in _SIGNAL
        if packet.epoch != self._epoch and not self._enter(packet, signal, items):
            return items
        if signal and (fault := self._expectation.check(packet)) is not None:
            self._refuse(fault)
            return items
        sequence = packet.sequence
        if sequence == self._expected and not self._held:
            self._expected = sequence + 1
            if self._rerun:
                self._rerun.clear()
            self._pass_on(packet, items)
        elif sequence >= self._expected:
            self._rerun.clear()
            self._ahead(packet, items)
        else:
            self._behind(packet, items)
        return items

    def flush(self) -> Sequence[Item]:
        """Stop waiting: pass on every packet held back; what is missing before them is lost.

        For the end of the input and for a silence; there is nothing to do where `reorder_window_packets` is
        0.
        """
        items: list[Item] = []
        while self._held:
            self._give_up(items)
        return items

    def _enter(self, packet: Packet, signal: bool, items: list[Item]) -> bool:
        """Begin the packet's epoch, unless it is over or the packet cannot begin it."""
        if packet.epoch in self._ended:
            self.counters.old_epoch += 1
            return False
        if not signal and self._epoch is not None:
            self._keep_early(packet)
            return False
        if signal and (fault := self._expectation.check_given(packet)) is not None:
            self._refuse(fault)
            return False
        early = [again for again in self._early if again.epoch == packet.epoch]
        self.counters.old_epoch += len(self._early) - len(early)
        self._early = []
        items.extend(self.flush())
        self._expectation.begin()
        if self._epoch is not None:
            self.counters.restarts += 1
            self._ended[self._epoch] = None
            if len(self._ended) > MAX_EPOCHS:
                del self._ended[next(iter(self._ended))]
        self._epoch = packet.epoch
        self._incarnation = 0
        self._begin(early[0] if early else packet, items)
        for again in early:
            items.extend(self.accept(again))
        return True

    def _keep_early(self, packet: Packet) -> None:
        self._early.append(owned(packet))
        if len(self._early) > MAX_EARLY:
            del self._early[0]
            self.counters.old_epoch += 1

    def _begin(self, packet: Packet, items: list[Item]) -> None:
        assert self._epoch is not None
        self._base = self._expected = packet.sequence
        self._position = None
        self._rerun.clear()
        self._back.clear()
        # What was sent before we joined is not lost, but if it comes now it is late, not a duplicate.
        self._missing.clear()
        self._missing.add(0, packet.sequence)
        items.append(Restart(self._epoch, self._incarnation))

    def _refuse(self, fault: str) -> None:
        self.counters.mismatched += 1
        self.last_fault = fault

    def _ahead(self, packet: Packet, items: list[Item]) -> None:
        sequence, held = packet.sequence, self._held
        if sequence in held:
            self.counters.duplicates += 1
            return
        if held and sequence < max(held):
            self.counters.reordered += 1
        held[sequence] = packet
        if sequence == self._expected:
            self._release(items)
        while len(held) > self._window:
            self._give_up(items)
        if sequence in held:
            held[sequence] = owned(packet)

    def _give_up(self, items: list[Item]) -> None:
        """Declare lost what is missing before the first packet held back."""
        first = min(self._held)
        self.counters.lost_packets += first - self._expected
        self._missing.add(self._expected, first)
        self._expected = first
        self._release(items)

    def _release(self, items: list[Item]) -> None:
        while (packet := self._held.pop(self._expected, None)) is not None:
            self._expected += 1
            self._pass_on(packet, items)

    def _behind(self, packet: Packet, items: list[Item]) -> None:
        missing = self._missing.discard(packet.sequence)
        self._rerun.add(packet, missing=missing, lost=missing and packet.sequence >= self._base)
        if len(self._rerun) < self._run_length:
            return
        items.extend(self.flush())
        run = self._rerun.take()
        self.counters.restarts_same_epoch += 1
        self._incarnation += 1
        self._begin(run[0], items)
        for again in run:
            self._expected += 1
            self._pass_on(again, items)

    def _pass_on(self, packet: Packet, items: list[Item]) -> None:
        self.counters.accepted += 1
        if packet.kind not in _SIGNAL:
            items.append(End(packet) if packet.kind == Kind.END else Aux(packet))
            return
        start = packet.sample_index
        stop = start + packet.n_samples
        position = start if self._position is None else self._position
        if start > position:
            self.counters.gaps += 1
            self.counters.missing_samples += start - position
            items.append(Gap(position, start))
        elif start < position:
            self.counters.overlapping_samples += min(position, stop) - start
            if stop <= position:
                self._go_back(packet, items)
                return
        self._back.clear()
        items.append(Span(packet, max(position - start, 0)))
        self._position = stop

    def _go_back(self, packet: Packet, items: list[Item]) -> None:
        """Keep a packet all of whose samples came before, until there are enough to say that the counter restarted."""
        back = self._back
        if back and packet.sample_index != back[-1].end_sample:
            back.clear()
        back.append(owned(packet))
        if len(back) < self._run_length:
            return
        self._back = []
        assert self._epoch is not None
        self.counters.accepted -= len(back)
        self.counters.overlapping_samples -= sum(again.n_samples for again in back)
        self.counters.restarts_same_epoch += 1
        self._incarnation += 1
        self._position = None
        items.append(Restart(self._epoch, self._incarnation))
        for again in back:
            self._pass_on(again, items)
