"""Every count of what went wrong, or may have: one plain object, so that nothing is lost silently.

Each packet that arrives is counted in exactly one of `accepted`, `duplicates`, `reordered_unused`,
`old_epoch`, `mismatched` and `malformed`; `lost_packets`, `reordered`, the restarts and the sample counts say
more about the same packets.
"""

from dataclasses import dataclass, field, fields
from operator import attrgetter

MALFORMED_REASONS = ("length", "magic", "version", "checksum", "kind", "field", "value", "payload")
"""The reasons that a `PacketError` gives, in the order of the telemetry."""


@dataclass(slots=True)
class Counters:
    """Counts since the start of the engine.

    They grow, with two exceptions: `lost_packets` falls when a lost packet comes after all, and what a rig's
    restart within its epoch was counted as at first is taken back when it is recognised.

    Attributes:
        accepted: Packets passed on, in order.
        lost_packets: Sequence numbers that have not come.
        duplicates: Packets whose sequence number had already come.
        reordered: Packets that came after one with a higher sequence number.
        reordered_unused: Those of them that came too late to be used: their samples had been declared
            missing.
        old_epoch: Packets of an epoch that had already ended, or that never began.
        mismatched: Signal packets that do not fit the stream; they count as not received.
        malformed: Frames that are no packet, by reason; they count as not received.
        restarts: New epochs after the first.
        restarts_same_epoch: Restarts of a rig that kept its epoch.
        gaps: Stretches of missing sample indices.
        missing_samples: Sample indices in those stretches.
        overlapping_samples: Samples that came again under a new sequence number, and were dropped.
        decoded_bins: Bins decoded.
        partial_bins: Bins with an observed fraction in [0.5, 1).
        stale_bins: Bins with an observed fraction below 0.5.
        late_bins: Bins decoded after their safe output had been made.
        nonfinite_bins: Bins whose decoded velocity was not finite.
        skipped_bins: Bins that were never decoded, since a gap was long enough for a reset.
        safe_bins: Safe outputs made.
        artefact_samples: Samples that counted as unobserved because of an artefact.
        settling_samples: Samples that counted as unobserved while the filter settled.
        railing_samples: Channel-samples at the rails.
        resets: Times that the decoder's state was reset.
    """

    accepted: int = 0
    lost_packets: int = 0
    duplicates: int = 0
    reordered: int = 0
    reordered_unused: int = 0
    old_epoch: int = 0
    mismatched: int = 0
    restarts: int = 0
    restarts_same_epoch: int = 0
    gaps: int = 0
    missing_samples: int = 0
    overlapping_samples: int = 0
    decoded_bins: int = 0
    partial_bins: int = 0
    stale_bins: int = 0
    late_bins: int = 0
    nonfinite_bins: int = 0
    skipped_bins: int = 0
    safe_bins: int = 0
    artefact_samples: int = 0
    settling_samples: int = 0
    railing_samples: int = 0
    resets: int = 0
    malformed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MALFORMED_REASONS, 0))

    def as_dict(self) -> dict[str, int]:
        """All counts by name, in the order of `NAMES`."""
        return dict(zip(NAMES, self.values(), strict=True))

    def values(self) -> tuple[int, ...]:
        """All counts in the order of `NAMES`."""
        return (*_plain(self), *map(self.malformed.__getitem__, MALFORMED_REASONS))


_PLAIN = tuple(entry.name for entry in fields(Counters) if entry.name != "malformed")
_plain = attrgetter(*_PLAIN)
NAMES = (*_PLAIN, *(f"malformed_{reason}" for reason in MALFORMED_REASONS))
"""Names of all counts; `malformed_<reason>` come last."""
