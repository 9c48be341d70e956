"""The synthetic rig: seeded wideband of tuned neurons in noise, as an object, a session and a publisher."""

# ruff: noqa: E402  # kernels are defined by the imports, and their cache has to be chosen before

from cortexwire.kernel_cache import use_cache

use_cache()

from cortexwire.clients.simulator.publisher import SimulatorSummary, run_simulator
from cortexwire.clients.simulator.session import SimulatedSession, parse_source
from cortexwire.clients.simulator.settings import SimulatorSettings
from cortexwire.clients.simulator.simulator import COLUMN_NAMES, Simulator

__all__ = [
    "COLUMN_NAMES",
    "SimulatedSession",
    "Simulator",
    "SimulatorSettings",
    "SimulatorSummary",
    "parse_source",
    "run_simulator",
]
