"""Bundles of random networks, of every family that has one."""

from pathlib import Path

import msgspec
import numpy as np

from cortexwire.decoders import Bundle
from cortexwire.training import export_bundle
from tests.decoders.examples import STREAM
from tests.training.networks import N_FEATURES, random_network

NETWORKS = ("mlp", "rnn", "gru", "lstm", "tcn", "snn")
NETWORK_STREAM = msgspec.structs.replace(STREAM, n_channels=N_FEATURES, electrodes=())


def network_bundle(folder: Path, name: str, seed: int = 3) -> Bundle:
    """Write a bundle of a network with random weights."""
    recorded = np.random.default_rng(seed).poisson(1.3, (200, N_FEATURES)).astype(np.float32)
    return export_bundle(
        random_network(name, seed),
        folder / f"{name}-{seed}",
        name=name,
        family=name,
        stream=NETWORK_STREAM,
        front_end={},
        unit="mm/s",
        recorded=recorded,
    )
