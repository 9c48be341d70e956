"""Hot swap: which strand is in command of which bin, and who follows it in shadow.

The rules:

* A bin's outputs come from one strand: the one in command of that bin. A takeover is at a bin, so it makes no
  difference how packets are cut, and no bin is decoded twice or not at all.
* A candidate takes over only when it is settled, and nothing keeps it from being armed that does not keep back the
  one in command. From then on the former one is in shadow, ready for a rollback at once.
* Whatever interrupts the stream before the takeover withdraws it, since the candidate has to settle again.
* Strands with the same signal chain share its bins. One with a front end of its own is fed the items that the intake
  gives, behind the outputs; only where a packet reaches the bin of the takeover does it catch up before outputs leave.

With no shadow there is nothing here on the way of a packet.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cortexwire.errors import BundleError, ConfigError
from cortexwire.pipeline import commands
from cortexwire.pipeline.bin_stage import BinStage, Closed, Event, EventSink, Reset, Started
from cortexwire.pipeline.counters import Counters
from cortexwire.pipeline.crossfade import Crossfade
from cortexwire.pipeline.items import Item
from cortexwire.pipeline.output_stage import THROUGH, OutputStage
from cortexwire.pipeline.shadow import Shadow
from cortexwire.pipeline.strand import Strand
from cortexwire.types import Velocity
from cortexwire.wire import Output

Take = Callable[[bytes | memoryview, EventSink], Any]


class Host(Protocol):
    """What a swap needs of the pipeline."""

    bins: BinStage
    counters: Counters

    @property
    def strand(self) -> Strand:
        """The strand in command."""

    @property
    def epoch(self) -> int:
        """Epoch of the stream."""

    @property
    def wants_armed(self) -> bool:
        """Whether it is armed, blocked or not."""

    @property
    def decoded_raw(self) -> Velocity | None:
        """The velocity of the bin handled last as it was decoded; None if it was not."""

    def handle(self, event: Event) -> None:
        """Handle an event of the bins in command."""

    def take_up(self, strand: Strand) -> None:
        """Put a strand in command."""

    def route(self, take: Take, handle: Callable[[Event], None]) -> None:
        """Who takes frames from here on, and who handles the events of the bins in command."""

    def note(self, text: str) -> None:
        """Say something."""


@dataclass(slots=True)
class _Takeover:
    """A takeover that is to come.

    Attributes:
        new: Who takes over.
        at: The first bin.
        fade: Over how many bins.
        old: The strand in command, as it will be in shadow.
        spilled: Whether bins from `at` on have been cut by the front end that is in command until then.
    """

    new: Shadow
    at: int
    fade: int
    old: Shadow
    spilled: bool = False


class Swap:
    """Decides who is in command, and lets the others follow.

    Args:
        host: The pipeline.
        output: What is commanded goes through it.
    """

    def __init__(self, host: Host, output: OutputStage) -> None:
        self._host = host
        self._output = output
        self._candidate: Shadow | None = None
        self._previous: Shadow | None = None
        self._coming: _Takeover | None = None
        self._fade: tuple[Shadow, Crossfade] | None = None
        self._commanded: dict[int, Velocity | None] = {}
        self.shadows: tuple[Shadow, ...] = ()

    # What an operator wants.

    def attach(self, strand: Strand) -> int:
        """Let a prepared strand follow from here on, in place of the candidate before it.

        Raises:
            BundleError: It was trained on another array.
            ConfigError: A takeover is under way.
        """
        host, leader = self._host, self._host.strand
        self._check_quiet()
        own = strand.chain != leader.chain
        if own:
            strand.bins.join(host.bins)
        else:
            strand.share(leader)
        strand.identity.learn(leader.identity)
        if strand.identity.refused:
            raise BundleError(f"{strand.bundle.path}: was trained on another array: {strand.identity.why}")
        shadow = Shadow(strand, own=own, epoch=host.epoch)
        shadow.mind_counts()
        self._let_go(self._candidate)
        self._candidate = shadow
        self._arrange()
        return host.bins.next_bin

    def activate(self, command: commands.ActivateBundle) -> int:
        """Let the candidate take over; returns the bin from which on it is in command.

        Raises:
            ConfigError: There is none, it is not settled, it may not be armed, or the bin is past.
        """
        self._check_quiet()
        host, candidate = self._host, self._candidate
        if candidate is None:
            raise ConfigError("activate: expected a bundle that was staged, got none")
        came = f"{candidate.strand.bundle.hash:016x}"
        if command.bundle_hash not in (None, came):
            raise ConfigError(f"activate: expected bundle {command.bundle_hash} to be staged, got {came}")
        phase, why = self._phase(candidate)
        if phase in ("refused", "warming"):
            raise ConfigError(f"activate: bundle {came} is not ready: {why}")
        if phase == "shadow":
            raise ConfigError(f"activate: bundle {came} may not be armed: {why}; confirm, or disarm first")
        here = host.bins.next_bin
        at = here if command.at_bin is None else command.at_bin
        if at < here:
            raise ConfigError(f"activate: expected a bin from {here} on, got {at}")
        self._announce(candidate, at, command.crossfade_bins)
        return at

    def rollback(self) -> int:
        """Go back to the bundle before, at once; or take back a takeover that has not happened.

        Raises:
            ConfigError: There is none before.
        """
        here = self._host.bins.next_bin
        if self._coming is not None:
            self._withdraw("taken back")
            return here
        if self._fade is not None:
            self._end_fade()
        previous = self._previous
        if previous is None:
            raise ConfigError("rollback: expected a bundle that was in command before, got none")
        self._announce(previous, here, 0)
        return here

    def unstage(self, command: commands.UnstageBundle) -> int:
        """Drop the candidate, or the bundle before.

        Raises:
            ConfigError: There is none.
        """
        what = command.which
        found = self._candidate if what == "candidate" else self._previous
        if found is None:
            raise ConfigError(f"unstage: expected a {what}, got none")
        if self._fade is not None and self._fade[0] is found:
            self._end_fade()
        if command.why:
            self._host.note(f"bundle {found.strand.bundle.hash:016x} is dropped: {command.why}")
        self._drop(found)
        return self._host.bins.next_bin

    def confirm(self) -> None:
        """The operator has made sure that it is the right array: that holds for whoever follows, too."""
        for shadow in self.shadows:
            if not shadow.strand.identity.refused:
                shadow.strand.identity.confirm()

    def mask(self, channels: tuple[int, ...], masked: bool) -> None:
        """Mask channels in the front ends of those who follow; one that cannot follow that is dropped."""
        for shadow in self.shadows:
            if shadow.own:
                try:
                    shadow.strand.bins.mask(channels, masked)
                except ConfigError as error:
                    self._host.note(f"bundle {shadow.strand.bundle.hash:016x} is dropped: {error}")
                    self._drop(shadow)

    def name(self, output: Output) -> None:
        """Name in an output made before its bin came who is in command of the bin."""
        coming = self._coming
        if coming is not None and output.bin >= coming.at:
            overlay = coming.new.decoder.overlay
            output.bundle_hash = coming.new.strand.bundle.hash
            output.overlay_hash = 0 if overlay is None else overlay.hash

    def describe(self) -> dict[str, Any]:
        """Candidate, bundle before and takeover as plain JSON values."""
        candidate, coming, fade = self._candidate, self._coming, self._fade
        described = None
        if candidate is not None:
            phase, why = self._phase(candidate)
            if coming is not None and coming.new is candidate:
                why = f"takes over at bin {coming.at}"
            bundle = candidate.strand.bundle
            overlay = candidate.decoder.overlay
            described = {
                "bundle_hash": f"{bundle.hash:016x}",
                "bundle_name": bundle.manifest.name,
                "path": str(bundle.path),
                "overlay_hash": f"{0 if overlay is None else overlay.hash:016x}",
                "own_front_end": candidate.own,
                "phase": phase,
                "why": why or None,
                "bins": candidate.bins,
                "divergence": candidate.divergence(),
            }
        previous = None if self._previous is None else f"{self._previous.strand.bundle.hash:016x}"
        return {
            "candidate": described,
            "previous": previous,
            "takeover_bin": None if coming is None else coming.at,
            "crossfade_until": None if fade is None else fade[1].end,
        }

    def _phase(self, shadow: Shadow) -> tuple[str, str]:
        """How far somebody is; what may not be armed takes nothing away where nothing is armed anyhow."""
        phase, why = shadow.phase
        armed = self._host.wants_armed and not self._host.strand.identity.blocks_arming
        return ("ready", why) if phase == "shadow" and not armed else (phase, why)

    # The way of what comes in, as long as somebody follows.

    def follow(self) -> None:
        """Let everybody catch up, behind the outputs."""
        for shadow in self.shadows:
            shadow.catch_up(self._on)
        for shadow in self.shadows:
            shadow.compare(self._commanded)
            self._notes_of(shadow)
        self._commanded.clear()

    def take_held(self) -> None:
        """Stop waiting for missing packets."""
        self._take_items(self._host.bins.intake.flush())

    def _take_beside(self, frame: bytes | memoryview, sink: EventSink) -> None:
        """Take a frame, and keep what it was for those with a front end of their own."""
        self.follow()
        frame = bytes(frame)
        items = self._host.bins.take(frame, sink)
        for shadow in self.shadows:
            if shadow.own:
                if items is None:
                    shadow.keep(frame)
                else:
                    for number in range(len(items)):
                        shadow.keep((items, number))

    def _take_over_soon(self, frame: bytes | memoryview, _sink: EventSink) -> None:
        """Take a frame that may reach a takeover, or a cross-fade: item by item."""
        self.follow()
        self._take_items(self._host.bins.read(bytes(frame)))

    def _take_items(self, items: Sequence[Item]) -> None:
        for number in range(len(items)):
            fading = None if self._fade is None else self._fade[0]
            if fading is not None and fading.own:
                # Its part of each bin has to be there when the bin's output is made.
                fading.take(items, number, self._on)
            self._host.bins.take_item(items, number, _Sink(self._handle))
            for shadow in self.shadows:
                if shadow.own and shadow is not fading:
                    shadow.keep((items, number))
            coming = self._coming
            if coming is not None and coming.new.own and self._host.bins.next_bin >= coming.at:
                coming.new.catch_up(self._on)
                if self._coming is coming:
                    self._exchange()

    def _handle(self, event: Event) -> None:
        """Handle an event of the bins in command."""
        index = event.bin.index if isinstance(event, Closed) else None
        coming = self._coming
        if coming is not None:
            if coming.spilled or (index is not None and index >= coming.at):
                if coming.new.own:
                    # The bin that is asked for is another one, which comes as soon as its front end has cut it.
                    if not coming.spilled:
                        coming.spilled = True
                        coming.old.strand.stage.output = THROUGH
                        coming.old.mind_counts()
                    coming.old.on(event)
                    return
                self._catch_up_and_exchange(coming)
            elif isinstance(event, Started | Reset):
                self._withdraw("the stream was interrupted")
        fading = self._fade
        if fading is not None:
            old, fade = fading
            if index is None:
                if isinstance(event, Started | Reset):
                    self._end_fade()
            elif index >= fade.end:
                self._end_fade()
            else:
                if not old.own:
                    old.catch_up(self._on)
                    old.on(event)
                said = old.decoded.get(index)
                fade.mix(index, None if said is None or not said.usable else said.raw)
        self._host.handle(event)
        if index is not None:
            self._commanded[index] = self._host.decoded_raw
        for shadow in self.shadows:
            if not shadow.own and not (self._fade is not None and shadow is self._fade[0] and index is not None):
                shadow.keep(event)
        if self._fade is not None and index == self._fade[1].end - 1:
            self._end_fade()
        coming = self._coming
        if coming is not None and not coming.new.own and index == coming.at - 1:
            self._catch_up_and_exchange(coming)

    def _on(self, shadow: Shadow, event: Event) -> None:
        """Handle an event of somebody who follows; from the bin of a takeover on it is the event of who commands."""
        coming = self._coming
        if (
            coming is not None
            and shadow is coming.new
            and shadow.own
            and isinstance(event, Closed)
            and event.bin.index >= coming.at
        ):
            self._exchange()
        if shadow.strand is self._host.strand:
            self._handle(event)
        else:
            shadow.on(event)

    # How it is done.

    def _announce(self, new: Shadow, at: int, fade: int) -> None:
        """Let a takeover come; at once if it is the open bin's."""
        host = self._host
        # If the new one brings its own front end, the old one keeps the one that it has.
        old = Shadow.of(host.strand, own=new.own, epoch=host.epoch)
        self._coming = _Takeover(new, at, fade, old)
        if at == host.bins.next_bin:
            self._exchange()
        self._arrange()

    def _catch_up_and_exchange(self, coming: _Takeover) -> None:
        coming.new.catch_up(self._on)
        self._exchange()

    def _exchange(self) -> None:
        """The takeover: who was in command is in shadow from here on."""
        coming, host = self._coming, self._host
        assert coming is not None
        self._coming = None
        old, new = coming.old, coming.new
        if new is self._candidate:
            self._candidate = None
        elif new.own and self._candidate is not None and not self._candidate.own:
            host.note(f"bundle {self._candidate.strand.bundle.hash:016x} is dropped: its bins are rolled back")
            self._let_go(self._candidate)
            self._candidate = None
        new.strand.bins.counters = host.counters
        host.take_up(new.strand)
        old.mind_counts()
        old.strand.stage.output = THROUGH
        if not new.own:
            old.strand.stage.unfollow()
            new.strand.follow()
        if self._previous is not new:
            self._let_go(self._previous)
        self._previous = old
        new.strand.stage.output = self._output
        if coming.fade:
            fade = Crossfade(self._output, coming.at, coming.fade)
            new.strand.stage.output = fade
            self._fade = (old, fade)
        self._arrange()

    def _end_fade(self) -> None:
        assert self._fade is not None
        self._fade = None
        self._host.strand.stage.output = self._output
        self._arrange()

    def _withdraw(self, why: str) -> None:
        """A takeover does not come."""
        coming = self._coming
        assert coming is not None
        self._coming = None
        self._host.note(f"bundle {coming.new.strand.bundle.hash:016x} does not take over at bin {coming.at}: {why}")
        self._arrange()

    def _drop(self, shadow: Shadow) -> None:
        if self._coming is not None and self._coming.new is shadow:
            self._withdraw("it was dropped")
        self._candidate = None if shadow is self._candidate else self._candidate
        self._previous = None if shadow is self._previous else self._previous
        self._let_go(shadow)
        self._arrange()

    def _let_go(self, shadow: Shadow | None) -> None:
        if shadow is not None:
            shadow.strand.close()

    def _check_quiet(self) -> None:
        if self._coming is not None:
            raise ConfigError(f"a takeover comes at bin {self._coming.at} already; take it back, or wait for it")
        if self._fade is not None:
            raise ConfigError(f"a cross-fade goes on until bin {self._fade[1].end}; roll back, or wait for it")

    def _arrange(self) -> None:
        """Look who follows, and lay the way of frames."""
        host = self._host
        self.shadows = tuple(shadow for shadow in (self._candidate, self._previous) if shadow is not None)
        if not self.shadows:
            host.route(host.bins.take, host.handle)
        elif self._coming is None and self._fade is None:
            host.route(self._take_beside, self._handle)
        else:
            host.route(self._take_over_soon, self._handle)

    def _notes_of(self, shadow: Shadow) -> None:
        if shadow.own and shadow.strand.bins.notes:
            name = f"{shadow.strand.bundle.hash:016x}"
            for note in shadow.strand.bins.notes:
                self._host.note(f"bundle {name} in shadow: {note}")
            shadow.strand.bins.notes.clear()


class _Sink:
    """Handles each event as it happens."""

    def __init__(self, handle: Callable[[Event], None]) -> None:
        self.append = handle
