"""Finer output of a decoder that is stepped once a bin: one state for every hop of a bin, taken in turn.

Each state has all that a decoder has without hops: its past, its warm-up, its taint by bins that were not valid, its
way back from what is no number. So the outputs at the ends of bins are those of the same decoder without hops, and
between them stand outputs of decoders that see the same stream cut into bins somewhere else. What is commanded is one
sequence, though: all of them go through one output stage, whose memory (smoothing, acceleration) runs on hops.
"""

from cortexwire.decoders.contract import Decoder
from cortexwire.decoders.interleaved import interleaved
from cortexwire.pipeline.decode_stage import Decoded, DecodeStage
from cortexwire.pipeline.output_stage import OutputStage
from cortexwire.signal.binning import Bin


class InterleavedStage:
    """Decodes bins that overlap, in order.

    Args:
        decoder: The executor of a bundle.
        output: The output stage of all states.
        parts: Hops in a bin, and states.

    Raises:
        BundleError: As `DecodeStage`.
    """

    def __init__(self, decoder: Decoder, output: OutputStage, parts: int) -> None:
        self.output = output
        self._stages = tuple(DecodeStage(state, output) for state in interleaved(decoder, parts))

    def reset(self) -> None:
        """Forget the past of all states."""
        for stage in self._stages:
            stage.reset()

    def step(self, closed: Bin) -> Decoded:
        """Decode one bin with the state that decoded the bin before it."""
        return self._stages[(closed.index + 1) % len(self._stages)].step(closed)
