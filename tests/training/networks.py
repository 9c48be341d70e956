"""Small networks for tests: random ones that need no torch, and how to train tiny ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cortexwire.training.feedforward_layers import Convolution, Dense, Window
from cortexwire.training.network import FittedNetwork, Layer
from cortexwire.training.recurrent_layers import Gru, Lstm, Rnn
from cortexwire.training.spiking_layers import Leaky, Lif, Rounded, on_grid

NO_TORCH = "torch tests skip: install the train extra"
N_FEATURES = 8
UNITS = 12

Weights = NDArray[np.float32]

TINY: Mapping[str, Mapping[str, Any]] = {
    "mlp": {"history": 5},
    "rnn": {},
    "gru": {},
    "lstm": {},
    "tcn": {"layers": 2},
    "snn": {"tau": 3},
}
"""What makes each family small, besides `settings`."""


def settings(name: str, **more: Any) -> dict[str, Any]:
    """Settings with which a family learns the made-up recording in about a second."""
    shared = {"hidden": UNITS, "epochs": 20, "streams": 8, "sequence": 40, "learning_rate": 1e-2, "threads": 1}
    return {**shared, "input_dropout": 0, "dropout": 0, "device": "cpu", **TINY[name], **more}


def random_network(name: str, seed: int = 3) -> FittedNetwork:
    """Make a network of a family with random weights."""
    rng = np.random.default_rng(seed)
    layers = _LAYERS[name](rng)
    size = N_FEATURES
    for layer in layers:
        size = layer.size(size)
    mean, scale = np.full(N_FEATURES, 1.3, np.float32), rng.uniform(0.5, 2, N_FEATURES).astype(np.float32)
    return FittedNetwork(name, mean, scale, layers, _draw(rng, 2, size) * 50, _draw(rng, 2) * 5, 10, 9, True, {})


def _draw(rng: np.random.Generator, *shape: int) -> Weights:
    return np.asarray(rng.standard_normal(shape) / np.sqrt(shape[-1]), np.float32)


def _cells(rng: np.random.Generator, n_gates: int, n_inputs: int) -> tuple[Weights, Weights, Weights]:
    n = n_gates * UNITS
    return _draw(rng, n, n_inputs), _draw(rng, n, UNITS), _draw(rng, n)


def _mlp(rng: np.random.Generator) -> tuple[Layer, ...]:
    first = Dense("dense0", _draw(rng, UNITS, 4 * N_FEATURES), _draw(rng, UNITS))
    return Window(4), first, Dense("dense1", _draw(rng, UNITS, UNITS), _draw(rng, UNITS), rectified=False)


def _rnn(rng: np.random.Generator) -> tuple[Layer, ...]:
    return Rnn("rnn0", *_cells(rng, 1, N_FEATURES)), Rnn("rnn1", *_cells(rng, 1, UNITS))


def _gru(rng: np.random.Generator) -> tuple[Layer, ...]:
    sizes = (N_FEATURES, UNITS)
    return tuple(Gru(f"gru{k}", *_cells(rng, 3, n), _draw(rng, UNITS)) for k, n in enumerate(sizes))


def _lstm(rng: np.random.Generator) -> tuple[Layer, ...]:
    return Lstm("lstm0", *_cells(rng, 4, N_FEATURES)), Lstm("lstm1", *_cells(rng, 4, UNITS))


def _tcn(rng: np.random.Generator) -> tuple[Layer, ...]:
    blocks = [Convolution(f"c{k}", _draw(rng, UNITS, 3 * UNITS), _draw(rng, UNITS), 2**k) for k in range(3)]
    return Dense("entry", _draw(rng, UNITS, N_FEATURES), _draw(rng, UNITS), rectified=False), *blocks


def _snn(rng: np.random.Generator) -> tuple[Layer, ...]:
    decay, leak = (rng.uniform(0.3, 0.95, UNITS).astype(np.float32) for _ in range(2))
    first = on_grid(_draw(rng, UNITS, N_FEATURES), _draw(rng, UNITS, UNITS), _draw(rng, UNITS), rounded=True)
    second = on_grid(3 * _draw(rng, UNITS, UNITS), None, _draw(rng, UNITS), rounded=False)
    return Rounded(), Lif("lif0", *first, decay, 1.0, 0.0), Lif("lif1", *second, decay, 0.8, -0.2), Leaky(leak)


_LAYERS = {"mlp": _mlp, "rnn": _rnn, "gru": _gru, "lstm": _lstm, "tcn": _tcn, "snn": _snn}
