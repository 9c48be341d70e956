"""The synthetic rig: seeded wideband of tuned neurons in noise, as an object, a session and a publisher."""

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
