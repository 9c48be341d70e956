"""What is exported, wherever it comes from: a session, and beside it whatever the pipeline made of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cortexwire.runtime.nwb_export.crossings import Crossings
from cortexwire.sessions.session import Session
from cortexwire.wire import Output

MARK_DTYPE = np.dtype([("sample", "<i8"), ("code", "<u4"), ("value", "<f8")])
"""One mark of an operator or a task: absolute sample index, code, value."""
UNIDENTIFIED = "http://purl.obolibrary.org/obo/NCBITaxon_32644"
"""The taxonomy's own word for an organism that nobody has named."""


def _no_marks() -> NDArray[np.void]:
    return np.zeros(0, MARK_DTYPE)


@dataclass(frozen=True)
class Subject:
    """Who was recorded; what is not known has the format's word for it.

    Attributes:
        id: Name of the subject.
        species: Latin binomial, or a term of the NCBI taxonomy.
        age: ISO 8601 duration, or two with a slash between; `P0D/` is "some age".
        sex: M, F, O for other or U for unknown.
        description: In words.
    """

    id: str = "unknown"
    species: str = UNIDENTIFIED
    age: str = "P0D/"
    sex: str = "U"
    description: str = ""


@dataclass(frozen=True)
class Recording:
    """One recording to export.

    Attributes:
        session: The signal, the columns and the trials; its sample 0 is time 0 of the file. One with `gaps`, `(n, 2)`,
            is never asked for samples in them, and with `first_sample` has that index in the epoch of its outputs.
        started: When sample 0 was taken, with a time zone; none if nobody knows.
        identifier: What is unique to this recording; drawn at random if empty.
        crossings: Threshold crossings of a wideband signal, and what was observed.
        outputs: Messages in order, of the session's own epoch; taken one by one, and only decoded ones are kept.
        velocity_unit: Unit of the decoded velocity.
        marks: Marks, as `MARK_DTYPE`.
        bundle: Name and hash of the bundle.
        configuration: What the pipeline was configured with.
        about: What the recording is, in words.
        location: Where the electrodes are, in words.
    """

    session: Session
    started: datetime | None = None
    identifier: str = ""
    crossings: Crossings | None = None
    outputs: Iterable[Output] = ()
    velocity_unit: str = ""
    marks: NDArray[np.void] = field(default_factory=_no_marks)
    bundle: str = ""
    configuration: dict[str, Any] = field(default_factory=dict)
    about: str = ""
    location: str = "unknown"

    @property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """Samples `[start, stop)` of the session that were not recorded."""
        rows = np.asarray(getattr(self.session, "gaps", ()), np.int64).reshape(-1, 2)
        return tuple((start, stop) for start, stop in rows.tolist())

    @property
    def first_sample(self) -> int:
        """Index in the epoch of the session's sample 0."""
        return int(getattr(self.session, "first_sample", 0))
