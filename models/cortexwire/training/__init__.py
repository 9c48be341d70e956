"""Fitting decoders and exporting them as bundles."""

from cortexwire.training.data import TrainingData
from cortexwire.training.export import export_bundle
from cortexwire.training.families import family, family_names
from cortexwire.training.metrics import r2
from cortexwire.training.seeded import seeded_bundle, shuffled_bundle
from cortexwire.training.seeded_gru import seeded_gru
from cortexwire.training.splits import Split, last_fraction, last_fraction_of_trials

__all__ = [
    "Split",
    "TrainingData",
    "export_bundle",
    "family",
    "family_names",
    "last_fraction",
    "last_fraction_of_trials",
    "r2",
    "seeded_bundle",
    "seeded_gru",
    "shuffled_bundle",
]
