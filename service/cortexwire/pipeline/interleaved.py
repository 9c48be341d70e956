"""Finer output of a decoder that is stepped once a bin: one state for every hop of a bin, taken in turn.

Each state has all that a decoder has without hops: its past, its warm-up, its taint by bins that were not valid, its
way back from what is no number. So the outputs at the ends of bins are those of the same decoder without hops, and
between them stand outputs of decoders that see the same stream cut into bins somewhere else. What is commanded is one
sequence, though: all of them go through one output stage, whose memory (smoothing, acceleration) runs on hops.
"""

from cortexwire.decoders.contract import Decoder
from cortexwire.decoders.interleaved import interleaved
from cortexwire.pipeline.bin_stage import BinStage
from cortexwire.pipeline.decode_stage import Decoded, DecodeStage
from cortexwire.pipeline.output_stage import Commanding
from cortexwire.signal.binning import Bin
from cortexwire.wire import Validity


class InterleavedStage:
    """Decodes bins that overlap, in order.

    Args:
        decoder: The executor of a bundle.
        output: The output stage of all states.
        parts: Hops in a bin, and states.

    Raises:
        BundleError: As `DecodeStage`.
    """

    def __init__(self, decoder: Decoder, output: Commanding, parts: int) -> None:
        self._output = output
        self._stages = tuple(DecodeStage(state, output) for state in interleaved(decoder, parts))
        self._next = self._stages[0]

    @property
    def output(self) -> Commanding:
        """The output stage of all states."""
        return self._output

    @output.setter
    def output(self, output: Commanding) -> None:
        self._output = output
        for stage in self._stages:
            stage.output = output

    @property
    def warming(self) -> bool:
        """Whether any state has not seen the past that it takes."""
        return any(stage.warming for stage in self._stages)

    def follow(self, stage: BinStage) -> None:
        """Let every state add up crossings as they come, which none that shares its decoder can."""
        for state in self._stages:
            state.follow(stage)

    def unfollow(self) -> None:
        """Another decoder adds up crossings as they come from here on."""
        for state in self._stages:
            state.unfollow()

    def skip(self) -> None:
        """A bin was closed that is not decoded."""
        for state in self._stages:
            state.skip()

    def reset(self) -> None:
        """Forget the past of all states."""
        for stage in self._stages:
            stage.reset()

    def step(self, closed: Bin, validity: Validity) -> Decoded:
        """Decode one bin with the state that decoded the bin before it; the rest as `DecodeStage.step`."""
        turn = (closed.index + 1) % len(self._stages)
        self._next = self._stages[(turn + 1) % len(self._stages)]
        return self._stages[turn].step(closed, validity)

    def settle(self) -> None:
        """Do what was put off, and lay out the state whose turn is next."""
        self._next.settle()
