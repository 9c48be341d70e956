"""Seeded faults on the way from a rig to the engine, with a ledger of everything that must follow from them.

A rig makes whole streams, the injector damages what is sent of them, and the ledger says what every counter of the
engine has to read, and which bins have to be marked, from what was done and not from what the engine does.
"""

from cortexwire.bench.faults.injector import FaultMix, Injection, inject
from cortexwire.bench.faults.ledger import Ledger
from cortexwire.bench.faults.marks import BinRules, Expected, ExpectedBin, expected_bins
from cortexwire.bench.faults.rig import FaultyRig, Stream, event_rig, simulated_rig
from cortexwire.bench.faults.verdict import Verdict, judge

__all__ = [
    "BinRules",
    "Expected",
    "ExpectedBin",
    "FaultMix",
    "FaultyRig",
    "Injection",
    "Ledger",
    "Stream",
    "Verdict",
    "event_rig",
    "expected_bins",
    "inject",
    "judge",
    "simulated_rig",
]
