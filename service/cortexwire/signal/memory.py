"""What the fused front end keeps between runs, laid out for compiled code.

Compiled code gets one object of plain numbers: addresses of arrays rather than arrays, because numba counts
references to every array that it takes out of an object, and that would cost more than the work at few channels.
`WidebandBins` owns the arrays and keeps them alive.
"""

from typing import Any

from numba import njit, types
from numba.experimental import structref

MAX_BLOCK = 64
"""Most samples in one block; 1 ms at 50 kHz has 50."""
(
    POSITION, BIN_START, BIN_END, BLOCK_START, BLOCK_END, BLOCK_REST, BLOCK_NUM, BLOCK_DEN, BLOCKS_IN_BIN, SETTLED_AT,
    RESTART, SEEN_FROM, N_EARLIER, N_EVENTS, N_COLLECTED, OBSERVED, ARTEFACT, HOLD_UNTIL, ARTEFACT_CHANNELS, N_BLANKS,
    HOLD_SAMPLES, REFRACTORY, SETTLING_BLOCKS, DEAD_BLOCKS, MODE, HAS_LIMIT, N_CHANNELS, N_INTEGERS,
) = range(28)  # fmt: skip
"""Fields of the integer state.

Next sample; edges of the open bin; edges of the open block, and what its start was rounded down by; samples per block
as a fraction, of whose denominator that is counted; blocks that ended in the bin; first settled sample; whether the
next sample begins a stretch; first sample of the open block that may count, crossings before and after it, and
crossings kept in the bin; observed and artefact samples of the bin; end of what follows an artefact; crossings in a
block that make one; external blankings. Then settings: samples that follow an artefact, refractory samples, blocks in
which a filter settles, blocks without a change that make a channel dead, reference mode, whether there is an
amplitude limit, channels of a sample as it comes."""


@structref.register
class _MemoryType(types.StructRef):
    """Compiled type of `Memory`; its field types choose the kernel's variant."""

    def preprocess_fields(self, fields: Any) -> Any:
        """Forget literal types."""
        return tuple((name, types.unliteral(kind)) for name, kind in fields)


class Memory(structref.StructRefProxy):
    """Settings of the kernels, and addresses of all arrays.

    Fields:
        variant: `variant_token` of the kernel.
        sections: `SECTION_WORDS` float32 a section.
        high_pass: Which numerators the sections have.
        scale: Microvolts per raw unit times the filter's gain, with the polarity's sign, float32.
        rails: Lowest and highest raw value, in the raw type.
        n_strips: Strips; there are `n_strips * LANES` padded channels.
        n_groups: Groups with a reference of their own.
        integers: int64, see the field numbers above.
        state: Strips' rows, `(n_strips, STATE_ROWS, LANES)` words of 32 bits.
        live: Bits of the channels that take part in each group's reference, `(n_groups, n_strips)`.
        group: int32, group of each padded channel; 0 where all share one.
        values: Work space for one sample.
        wide: Work space for a block of samples, `(MAX_BLOCK, padded channels)`.
        totals: int32, work space, one a sample.
        numbers: int32, work space, one a sample.
        references: float64, references of the last two samples and work space, `(n_groups, 2 + MAX_BLOCK)`.
        too_few: int32, one flag a group.
        offsets: float32, work space.
        blanks: int64, external blankings, `(n, 2)`: first and end sample.
        events: `EVENT`s of the open bin; those of the open block stand last.
        counts: int32, crossings of the open bin, `(padded channels,)`.
        block_power: float32, power sum of the open block, `(padded channels,)`.
        power: float64, power sum of the open bin, `(padded channels,)`.
    """


MEMORY_FIELDS = (
    "variant", "sections", "high_pass", "scale", "rails", "n_strips", "n_groups", "integers", "state", "live", "group",
    "values", "wide", "totals", "numbers", "references", "too_few", "offsets", "blanks", "events", "counts",
    "block_power", "power",
)  # fmt: skip
structref.define_proxy(Memory, _MemoryType, list(MEMORY_FIELDS))


@njit(cache=True)
def make_memory(*fields: Any) -> Memory:
    """Make a `Memory`; unlike its constructor this is cached."""
    return Memory(*fields)  # type: ignore[no-untyped-call]  # structref has no types
