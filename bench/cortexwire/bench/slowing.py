"""Slowing a stage of a live engine on purpose, so that one sees a budget break, and which line of it.

The pipeline is built as ever; a call between the stage's two time stamps then sleeps a while for each bin. A sleep
takes the stage's time and not the machine's, so nothing else grows slow with it.
"""

import time
from collections.abc import Callable
from typing import Final, Literal, ParamSpec, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from cortexwire.config import EngineConfig
from cortexwire.errors import ConfigError
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.runtime.assembly import Assembled, assemble

SLOWED: Final = ("received_to_binned", "binned_to_decoded", "decoded_to_published")
"""Stages that can be slowed."""
CONTAINING: Final[dict[str, tuple[str, ...]]] = {
    stage: (stage, "received_to_published", "sent_to_published", "sent_to_received") for stage in SLOWED
}
"""What a slowed stage makes longer: itself, and all that contains it. (`due_to_received` contains it too, and the rig's
own lateness.)"""

P = ParamSpec("P")
R = TypeVar("R")


class Slowing(BaseModel):
    """Which stage is slowed, by how much, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: Literal["received_to_binned", "binned_to_decoded", "decoded_to_published"] = Field(
        description="A stage of the engine."
    )
    extra_us: float = Field(gt=0, allow_inf_nan=False, description="How much longer each bin takes there.")
    after_s: float = Field(default=0.0, ge=0, description="Seconds from the first decoded bin until that begins.")
    for_s: float | None = Field(default=None, gt=0, description="Seconds until it ends again; None: never.")

    def __str__(self) -> str:
        return f"{self.stage} by {self.extra_us:g} us"


def parse_slowing(text: str) -> Slowing:
    """Read `STAGE=MICROSECONDS`.

    Raises:
        ConfigError: It is not that, or no stage that can be slowed.
    """
    stage, _, extra = text.partition("=")
    try:
        return Slowing.model_validate({"stage": stage, "extra_us": extra})
    except ValueError as error:
        raise ConfigError(f"expected STAGE=MICROSECONDS with one of {', '.join(SLOWED)}, got {text!r}") from error


class Slowed:
    """A builder of pipelines one stage of which is slow.

    Args:
        slowing: What to slow.

    Attributes:
        from_ns: When it begins or began to be slow, CLOCK_MONOTONIC; 0 before the first decoded bin.
    """

    def __init__(self, slowing: Slowing) -> None:
        self.slowing = slowing
        self.from_ns = 0
        self._until_ns = 0

    def build(self, config: EngineConfig) -> Assembled:
        """Build as the service does, and put the sleep in."""
        assembled = assemble(config)
        self._slow(assembled.pipeline)
        return assembled

    def _slow(self, pipeline: Pipeline) -> None:
        decode = pipeline._decode
        # On purpose in place of the methods: the service itself has nothing that could slow it.
        decode.step = self._before(self._begin, decode.step)  # type: ignore[method-assign]
        match self.slowing.stage:
            case "received_to_binned":
                # Takes a bin that was just cut, and stamps it first of all.
                pipeline._bin = self._before(self._sleep, pipeline._bin)  # type: ignore[method-assign]
            case "binned_to_decoded":
                decode.step = self._before(self._sleep, decode.step)  # type: ignore[method-assign]
            case "decoded_to_published":
                pipeline.packet = self._after(pipeline.packet)  # type: ignore[method-assign]

    def _before(self, act: Callable[[], None], call: Callable[P, R]) -> Callable[P, R]:
        """Something, and then the same call."""

        def slowed(*args: P.args, **kwargs: P.kwargs) -> R:
            act()
            return call(*args, **kwargs)

        return slowed

    def _after(self, call: Callable[P, R]) -> Callable[P, R]:
        """The same call, and a sleep where it gave something: a packet that closes no bin costs nothing."""

        def slowed(*args: P.args, **kwargs: P.kwargs) -> R:
            given = call(*args, **kwargs)
            if given:
                self._sleep()
            return given

        return slowed

    def _begin(self) -> None:
        """Time runs from the first decoded bin on."""
        if not self.from_ns:
            lasts_s = self.slowing.for_s
            self.from_ns = time.monotonic_ns() + int(self.slowing.after_s * 1e9)
            self._until_ns = 2**63 - 1 if lasts_s is None else self.from_ns + int(lasts_s * 1e9)

    def _sleep(self) -> None:
        if self.from_ns <= time.monotonic_ns() < self._until_ns:
            time.sleep(self.slowing.extra_us / 1e6)
