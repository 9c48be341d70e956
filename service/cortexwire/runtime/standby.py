"""An engine that is ready but for its sockets, and waits until its supervisor says that its turn has come.

Nearly all of an engine's start is loading libraries and compiled kernels. Whoever has done that once, on a pipeline
that is thrown away, makes another one within a few hundredths of a second, with whatever settings hold by then.
"""

import select
import sys

import msgspec
import structlog

from cortexwire.config import EngineConfig
from cortexwire.runtime.assembly import assemble


def stand_by(config: EngineConfig) -> list[str] | None:
    """Load all that an engine of this configuration needs, then wait for a line on standard input.

    Returns:
        The line: a JSON list of settings, `path=value` each, that go before all others; None where standard input
        ends instead.

    Raises:
        StartupError: There is no such engine; with all that is wrong.
        ConfigError: The line is something else.
    """
    # Whoever is called before it is ready gets ready for what it is called for.
    if not select.select([sys.stdin], [], [], 0)[0]:
        assemble(config).pipeline.warm_up()
        structlog.get_logger("cortexwire.engine").info("standing by")
    line = sys.stdin.readline()
    return msgspec.json.decode(line, type=list[str]) if line.strip() else None
