"""The error family: one class for each party that can be at fault.

A message says what was expected, what came, and where. `PacketError` is a peer's fault and never ends the live
loop; the others are ours or the operator's and stop a start-up, all of them reported together.
"""

from collections.abc import Sequence


class CortexwireError(Exception):
    """Base of every error that this package raises on purpose."""


class PacketError(CortexwireError):
    """A message on the wire is malformed: the sender's fault.

    Attributes:
        reason: Short class of the fault, used as the name of its counter (`length`, `magic`, `version`,
            `checksum`, `kind`, `field`, `value`, `payload`).
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ConfigError(CortexwireError):
    """Settings that cannot work: the operator's fault, found at start-up."""


class BundleError(CortexwireError):
    """A model bundle or overlay that is damaged or does not fit the stream."""


class SessionError(CortexwireError):
    """A recorded session that cannot be read as described."""


class StartupError(CortexwireError):
    """Everything that is wrong at start-up, reported in one message.

    Attributes:
        problems: One sentence each, in the order in which they were found.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{len(self.problems)} problem(s) at start-up:\n{lines}")
