"""The processes of peers, each `python -m` of this module, as those of `cortexwire.bench.child` are.

What a role needs is imported with it: an echo without torch, a chain without Redis. Libraries may print what they
like; it does not mix with the lines that are the interface.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any, Final

from cortexwire.runtime.parent import end_with_parent


def main(argv: list[str] | None = None) -> int:
    """Run one role: `ROLE JSON`."""
    end_with_parent()
    role, settings = sys.argv[1:] if argv is None else argv
    with redirect_stdout(sys.stderr):
        result = ROLES[role](json.loads(settings))
    _say(result)
    return 0


def _say(content: Mapping[str, Any]) -> None:
    print(json.dumps(content), file=sys.__stdout__, flush=True)  # the line is the interface


def _echo(settings: dict[str, Any]) -> dict[str, Any]:
    from cortexwire.bench.peers.zmq_service import Echo, serve

    return serve(settings, Echo, _say)


def _torch_chain(settings: dict[str, Any]) -> dict[str, Any]:
    from cortexwire.bench.peers.torch_chain import TorchChain
    from cortexwire.bench.peers.zmq_service import serve

    return serve(settings, TorchChain, _say)


def _ezmsg_graph(settings: dict[str, Any]) -> dict[str, Any]:
    # Otherwise ezmsg makes a folder for its profiler's log in the home folder.
    os.environ["EZMSG_PROFILE"] = os.devnull
    from cortexwire.bench.peers.ezmsg_service import serve

    return serve(settings, _say)


def _of(module: str, function: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A role that is a function of settings and of who is told when it is ready."""

    def run(settings: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = getattr(import_module(f"cortexwire.bench.peers.{module}"), function)(settings, _say)
        return found

    return run


ROLES: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "echo": _echo,
    "torch_chain": _torch_chain,
    "ezmsg_graph": _ezmsg_graph,
    "subscribe": _of("subscribe", "subscribe"),
    "redis_server": _of("redis_streams", "server"),
    "redis_forward": _of("redis_streams", "forward"),
    "redis_counts": _of("redis_chain", "find_counts"),
    "redis_decode": _of("redis_chain", "decode"),
    "redis_subscribe": _of("redis_streams", "subscribe"),
}

if __name__ == "__main__":
    sys.exit(main())
