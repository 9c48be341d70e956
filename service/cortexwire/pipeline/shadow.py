"""A strand in shadow: it decodes each bin of the stream once the outputs of that bin are out, and commands nothing.

It sees what the strand in command sees. With the same signal chain it is handed the same bins; with another one its own
front end takes the same items, in the order in which the one intake put them. Either way what it has decoded depends on
the stream alone, and not on when it came to it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any, Final

import numpy as np

from cortexwire.decoders.contract import Decoder
from cortexwire.pipeline.bin_stage import Announced, Closed, Described, Event, Reset, Started
from cortexwire.pipeline.counters import Counters
from cortexwire.pipeline.decode_stage import Decoded, validity_of
from cortexwire.pipeline.items import Item, Span
from cortexwire.pipeline.strand import Strand
from cortexwire.signal.binning import Bin
from cortexwire.types import Velocity
from cortexwire.wire import Validity, decode_packet

SHOWN_S: Final = 5.0
"""Over how much of the stream old and new are compared."""

Handle = Callable[["Shadow", Event], None]


class _Sink:
    """Handles each event as it happens."""

    def __init__(self, handle: Handle, shadow: "Shadow") -> None:
        self._handle, self._shadow = handle, shadow

    def append(self, event: Event) -> None:
        self._handle(self._shadow, event)


class Shadow:
    """Follows the stream behind the strand in command.

    Args:
        strand: Who decodes.
        own: Whether it has a front end of its own.
        epoch: Epoch of the stream.

    Attributes:
        bins: Bins decoded since it is in shadow.
        decoded: The last of them by number, for whoever wants to compare.
        fault: Why it can be used no longer; empty while it can.
    """

    def __init__(self, strand: Strand, *, own: bool, epoch: int) -> None:
        self.strand, self.own = strand, own
        self.bins = 0
        self.decoded: dict[int, Decoded] = {}
        self.fault = ""
        self._epoch = epoch
        self._seen = 0
        self._measured: Any = None
        self._waiting: list[tuple[Sequence[Item], int] | bytes | Event] = []
        manifest = strand.bundle.manifest
        self._squares: deque[float] = deque(maxlen=round(SHOWN_S * 1000 / strand.hop.ms(manifest.stream.bin_ms)))

    @classmethod
    def of(cls, strand: Strand, *, own: bool, epoch: int) -> "Shadow":
        """Of a strand that was in command, so that it has seen all that it takes."""
        shadow = cls(strand, own=own, epoch=epoch)
        shadow._seen = strand.remembers
        return shadow

    @property
    def settled(self) -> bool:
        """Whether its filters, thresholds and decoder depend no longer on where it began."""
        strand = self.strand
        return self._seen >= strand.remembers and not strand.bins.calibrating and not strand.stage.warming

    @property
    def phase(self) -> tuple[str, str]:
        """How far it is, `warming`, `shadow` (it may not command), `ready` or `refused`; and why."""
        identity, bins = self.strand.identity, self.strand.bins
        if self.fault or identity.refused:
            return "refused", self.fault or identity.why
        if bins.calibrating:
            return "warming", f"thresholds are being found: {bins.calibration_progress:.0%}"
        if not self.settled:
            return "warming", f"has seen {self._seen} of the {self.strand.remembers} outputs that it remembers"
        return ("shadow", identity.why) if identity.blocks_arming else ("ready", "")

    def divergence(self) -> dict[str, float]:
        """Root mean square, and largest, length of the difference between its velocity and the one in command."""
        if not self._squares:
            return {"rms": 0.0, "max": 0.0}
        return {"rms": sqrt(sum(self._squares) / len(self._squares)), "max": sqrt(max(self._squares))}

    def keep(self, what: "tuple[Sequence[Item], int] | bytes | Event") -> None:
        """Keep for later: an item of those read together, a frame that took the short way, or an event of the bins."""
        self._waiting.append(what)

    def catch_up(self, handle: Handle) -> None:
        """Take what was kept; events of its own front end, or those kept, are handled one by one."""
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            for what in waiting:
                if isinstance(what, bytes):
                    self.take([Span(decode_packet(what), 0)], 0, handle)
                elif isinstance(what, tuple):
                    self.take(*what, handle)
                else:
                    handle(self, what)

    def take(self, items: Sequence[Item], number: int, handle: Handle) -> None:
        """Let its own front end take one of the items that were read together."""
        self.strand.bins.take_item(items, number, _Sink(handle, self))

    def on(self, event: Event) -> None:
        """Take an event of the bins."""
        strand = self.strand
        match event:
            case Closed(bin=closed, calibrated=calibrated):
                self._bin(closed, calibrated)
            case Started(epoch=epoch):
                if epoch != self._epoch:
                    self._epoch = epoch
                    strand.identity.reset()
                    if self.own:
                        strand.watch.restart_measuring()
                self._reset()
            case Reset():
                self._reset()
            case Announced(descriptor_hash=descriptor_hash):
                strand.identity.announced(descriptor_hash)
            case Described(descriptor=descriptor):
                strand.identity.descriptor(descriptor)

    def _bin(self, closed: Bin, calibrated: bool) -> None:
        strand = self.strand
        if self.own:
            strand.watch.changes(closed)
            if calibrated:
                strand.watch.smooth(closed)
        if not calibrated or strand.identity.refused:
            strand.stage.skip()
            if strand.decoding:
                strand.decoding = False
                self._reset()
            return
        strand.decoding = True
        self._rates(closed)
        validity = validity_of(closed)
        decoded = strand.stage.step(closed, validity)
        strand.settle()
        self.decoded[closed.index] = decoded
        self.bins += 1
        if self._seen or validity is Validity.VALID:
            self._seen += 1

    def _rates(self, closed: Bin) -> None:
        watch = self.strand.watch
        if self.own and watch.measuring:
            watch.measure(closed)
        if watch.measured_hz is not self._measured:
            self._measured = watch.measured_hz
            if self._measured is not None:
                self.strand.identity.rates(self._measured)

    def _reset(self) -> None:
        self.strand.stage.reset()
        self._seen = 0

    def compare(self, commanded: dict[int, Velocity | None]) -> None:
        """Compare what it decoded with what the strand in command decoded of the same bins, and forget both."""
        for index, decoded in self.decoded.items():
            raw = commanded.get(index)
            if raw is not None:
                apart = decoded.raw.astype(np.float64) - raw
                square = float(apart @ apart)
                if square < float("inf"):
                    self._squares.append(square)
        self.decoded.clear()

    @property
    def decoder(self) -> Decoder:
        """Its decoder."""
        return self.strand.decoder

    def mind_counts(self) -> None:
        """Count for itself what its own front end counts: the pipeline's counters are those of who is in command."""
        if self.own:
            self.strand.bins.counters = Counters()
