"""What can be wrong with a log, and where: every finding names a segment, a byte and a record."""

from enum import StrEnum

import msgspec


class FaultKind(StrEnum):
    """Kinds of findings."""

    TORN = "torn tail"
    """The segment ends within a record, or behind its last record stands what is none."""
    SUPERSEDED = "superseded tail"
    """Records at a segment's end that a later segment has again, and which count there."""
    DAMAGE = "damage"
    """Bytes between whole records that are none."""
    GAP = "gap"
    """Records are missing, and no `LOSS` record says so."""
    REPEATED = "repeated records"
    """Records whose number came before, within one segment."""
    RENUMBERED = "numbers begin again"
    """A segment's records begin at a number that came before, and are others than those."""
    MISSING_SEGMENT = "missing segment"
    """A segment's number is left out."""
    HEADER = "segment header"
    """A segment's own header cannot be read, or says what cannot be."""
    FOREIGN = "foreign segment"
    """A segment of another recording."""
    CONTENT = "content"
    """A whole record of the engine or the recorder whose content is not what it must be."""
    SIDECAR = "sidecar"
    """`recording.json` is missing or cannot be read."""


class Fault(msgspec.Struct, frozen=True, gc=False):
    """One finding.

    Attributes:
        kind: What it is.
        segment: Name of the file.
        at: First byte in it.
        n_bytes: How many bytes are concerned.
        index: Number of the first record that is concerned; -1 where nobody knows.
        records: Records that are missing for it (of a superseded tail or repeated ones: that were passed over).
        text: What was expected and what came.
        harmless: Whether nothing is missing for it: a recorder was killed, and another took up where it had been.
    """

    kind: FaultKind
    segment: str
    at: int
    n_bytes: int
    index: int
    records: int
    text: str
    harmless: bool = False

    @property
    def breaks(self) -> bool:
        """Whether records are missing from here on that somebody had written."""
        if self.kind is FaultKind.RENUMBERED:
            return True
        return self.records > 0 and self.kind not in (FaultKind.SUPERSEDED, FaultKind.REPEATED)

    def __str__(self) -> str:
        return f"{self.segment} at byte {self.at}: {self.kind}: {self.text}"
