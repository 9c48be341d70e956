"""The services that are compared, each started as the processes that it is made of.

All are given one bundle, one file of thresholds, and endpoints of one transport. What a peer needs and is not installed
is said in words, so that a run without it still says why.
"""

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from cortexwire.bench.live import Child
from cortexwire.bench.peers.bins import Bins, bins_of
from cortexwire.bench.peers.front_end import layout_to_json
from cortexwire.bench.peers.preparation import fastest_layout, find_thresholds, write_thresholds
from cortexwire.clients.simulator import SimulatedSession, SimulatorSettings
from cortexwire.config import EngineConfig, IngestSettings, OutputSocketSettings
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training.features import designed, stream_of
from cortexwire.training.seeded_gru import seeded_gru

Transport = Literal["ipc", "tcp"]

ENGINE: Final = "engine"
SEED: Final = 6
UNITS: Final = {96: 128, 256: 256}
"""Units of the GRU up to so many channels."""
MOST_UNITS: Final = 512
OUTPUT_BINS: Final = 250
PEERS_MODULE: Final = "cortexwire.bench.peers.child"
_PIP: Final = "pip install 'cortexwire[peers]'"
_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "torch_chain": ("torch",),
    "redis_chain": ("torch", "redis"),
    "ezmsg_graph": ("torch", "ezmsg.sigproc"),
}


@dataclass(frozen=True)
class Setup:
    """What every service of a comparison is given.

    Attributes:
        simulator: The rig.
        bundle: Folder of the bundle.
        bins: How its stream is cut.
        thresholds: The thresholds file.
        layout: How the chains of numpy are written.
        units: Units of the GRU.
        transport: How packets and outputs travel.
        executor: What runs the engine's decoder.
    """

    simulator: SimulatorSettings
    bundle: Path
    bins: Bins
    thresholds: Path
    layout: Mapping[str, Any]
    units: int
    transport: Transport
    executor: str

    def endpoints(self, folder: Path) -> tuple[str, str]:
        """Where packets go in and outputs come out; on TCP the system chooses the ports."""
        return ("tcp://127.0.0.1:*",) * 2 if self.transport == "tcp" else (f"ipc://{folder}/in", f"ipc://{folder}/out")


@dataclass
class Running:
    """A service that is ready.

    Attributes:
        ingest: Where it takes packets.
        subscriber: What receives its outputs.
        processes: Its own processes by name.
        pids: Numbers of all whose processor time is its own.
    """

    ingest: str
    subscriber: Child
    processes: dict[str, Child] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)

    def stop(self) -> dict[str, Any]:
        """End its processes, in the order in which packets pass them; what each said."""
        return {name: child.stop() for name, child in self.processes.items()}


Start = Callable[[Setup, Path, ExitStack], Running]


def prepare(folder: Path, channels: int, transport: Transport, executor: str) -> Setup:
    """Make bundle and thresholds for a number of channels, and choose how the chains of numpy are written."""
    # Electrodes have no faults, since only the engine looks for them.
    simulator = SimulatorSettings(channels=channels, seed=SEED, dead=False, railing=False, artefacts=False)
    units = next((units for most, units in UNITS.items() if channels <= most), MOST_UNITS)
    session = SimulatedSession(simulator, 1.0)
    chain = designed(FrontEndSettings(), session)
    bundle = seeded_gru(
        folder / "bundle",
        seed=SEED,
        stream=stream_of(session, chain.bin_ms),
        units=units,
        front_end=chain.model_dump(mode="json"),
    )
    thresholds_uv, thresholds = find_thresholds(bundle, simulator), folder / "thresholds.json"
    write_thresholds(thresholds, thresholds_uv)
    layout = layout_to_json(fastest_layout(bundle, thresholds_uv))
    return Setup(simulator, bundle.path, bins_of(bundle), thresholds, layout, units, transport, executor)


def absent(service: str) -> str | None:
    """Say what a service needs and is not installed; None where nothing is missing."""
    for module in _NEEDS.get(service, ()):
        package = module.partition(".")[0]
        if find_spec(package) is None or find_spec(module) is None:
            return f"{module.replace('.', '-')} is not installed: {_PIP}"
    if service == "redis_chain" and shutil.which("redis-server") is None:
        return "redis-server is not installed: apt-get install redis-server"
    return None


def _engine(setup: Setup, folder: Path, opened: ExitStack) -> Running:
    ingest, output = setup.endpoints(folder)
    config = EngineConfig(
        ingest=IngestSettings(endpoint=ingest, bind=True),
        output=OutputSocketSettings(endpoint=output, high_water_bins=OUTPUT_BINS),
        bundle=setup.bundle,
        thresholds=setup.thresholds,
        armed=True,
        run_dir=folder / "run",
        **({} if setup.executor == "onnx" else {"executor": setup.executor}),
    )
    return _subscribed(ENGINE, Child("engine", config.model_dump(mode="json")), opened)


def _of_one_process(role: str) -> Start:
    def start(setup: Setup, folder: Path, opened: ExitStack) -> Running:
        ingest, output = setup.endpoints(folder)
        return _subscribed(role, _peer(role, setup, ingest=ingest, output=output), opened)

    return start


def _subscribed(name: str, service: Child, opened: ExitStack) -> Running:
    opened.enter_context(service)
    subscriber = opened.enter_context(Child("subscribe", {"endpoint": service.ready["output"]}, PEERS_MODULE))
    return Running(service.ready["ingest"], subscriber, {name: service}, {name: service.pid})


def _redis(setup: Setup, folder: Path, opened: ExitStack) -> Running:
    path = str(folder / "redis")
    server = opened.enter_context(Child("redis_server", {"socket": path}, PEERS_MODULE))
    subscriber = opened.enter_context(Child("redis_subscribe", {"socket": path}, PEERS_MODULE))
    nodes = {
        role: opened.enter_context(_peer(role, setup, socket=path, ingest=setup.endpoints(folder)[0]))
        for role in ("redis_decode", "redis_counts", "redis_forward")
    }
    pids = {role: node.pid for role, node in nodes.items()} | {"redis_server": server.ready["pid"]}
    ordered = dict(reversed(nodes.items())) | {"redis_server": server}
    return Running(nodes["redis_forward"].ready["ingest"], subscriber, ordered, pids)


def _peer(role: str, setup: Setup, **more: str) -> Child:
    settings = {"bundle": str(setup.bundle), "thresholds": str(setup.thresholds), "layout": dict(setup.layout)}
    return Child(role, settings | more, PEERS_MODULE)


SERVICES: Final[Mapping[str, Start]] = {
    ENGINE: _engine,
    "echo": _of_one_process("echo"),
    "torch_chain": _of_one_process("torch_chain"),
    "redis_chain": _redis,
    "ezmsg_graph": _of_one_process("ezmsg_graph"),
}
"""How each is started, in the order of their turns."""
