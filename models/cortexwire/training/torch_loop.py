"""Training by truncated backpropagation through time, over the training part cut into parallel streams.

A stream's state is carried from one piece of it to the next, across trials, and only the gradient ends at a piece's
beginning; each epoch cuts other streams. The last, contiguous part of the teaching bins is not trained on: after each
epoch the running average of the weights (Polyak & Juditsky 1992) is scored on it, and the best average is kept.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cortexwire.errors import ConfigError
from cortexwire.training.augmentation import Augmentation
from cortexwire.training.contract import normalisation
from cortexwire.training.data import TrainingData
from cortexwire.training.metrics import r2
from cortexwire.training.network import FittedNetwork
from cortexwire.training.progress import Epoch, tell
from cortexwire.training.streams import overlapping, parallel
from cortexwire.training.torch_network import Learned, States, TorchNetwork, device_of
from cortexwire.training.torch_settings import TorchSettings

AVERAGING: Final = 0.98
"""How much of the averaged weights stays at each update."""
WARM_UP_EPOCHS: Final = 3
"""Epochs in which the learning rate rises."""
VALIDATION_STREAMS: Final = 8


@dataclass(frozen=True, eq=False)
class Task:
    """What is learned from, normalised, and how it is split.

    Attributes:
        features: float32 `(n_bins, n_features)`.
        targets: float32 `(n_bins, n_outputs)`, zero where a bin does not teach.
        teaches: bool `(n_bins,)`.
        segments: First bin of each segment.
        cut: First bin of the validation part.
        rest: float32 `(n_features,)`, see `Augmentation`.
    """

    features: NDArray[np.float32]
    targets: NDArray[np.float32]
    teaches: NDArray[np.bool_]
    segments: tuple[int, ...]
    cut: int
    rest: NDArray[np.float32]


def fit_network(
    name: str, data: TrainingData, settings: TorchSettings, build: Callable[[int, int], TorchNetwork]
) -> FittedNetwork:
    """Train a network.

    Args:
        name: Its family.
        data: What to learn from.
        settings: How; the family's own settings among them go into the summary.
        build: Makes an untrained network from the numbers of features and of outputs.

    Raises:
        ConfigError: There is too little to learn from, the device is not there, or training diverged.
    """
    usable = data.usable(0)
    teaching = np.flatnonzero(usable)
    if len(teaching) < 4:
        raise ConfigError(f"{name}: expected bins with targets to train on, got {len(teaching)}")
    feature_mean, feature_scale = normalisation(data.features, usable)
    centre, spread = normalisation(np.asarray(data.targets, np.float32), usable)
    task = Task(
        features=(data.features - feature_mean) / feature_scale,
        targets=np.where(usable[:, None], (data.targets - centre) / spread, 0).astype(np.float32),
        teaches=usable,
        segments=data.segments,
        cut=int(teaching[-max(2, round(len(teaching) * settings.validation_fraction))]),
        rest=feature_mean / feature_scale,
    )
    with _sandbox(settings) as device:
        network = build(data.features.shape[1], data.targets.shape[1])
        network.module.to(device)
        outcome = _Training(name, network, task, settings).run()
        learned = network.learned()
    return _fitted(name, data, (feature_mean, feature_scale), _unscaled(learned, centre, spread), settings, outcome)


def _unscaled(learned: Learned, centre: NDArray[np.float32], spread: NDArray[np.float32]) -> Learned:
    weights, bias = learned.weights * spread[:, None], learned.bias * spread + centre
    return Learned(learned.layers, weights.astype(np.float32), bias.astype(np.float32))


def _fitted(
    name: str,
    data: TrainingData,
    normal: tuple[NDArray[np.float32], NDArray[np.float32]],
    learned: Learned,
    settings: TorchSettings,
    outcome: dict[str, Any],
) -> FittedNetwork:
    summary = {**msgspec.structs.asdict(settings), **outcome}
    unmeasured = FittedNetwork(name, *normal, learned.layers, learned.weights, learned.bias, 1, 0, True, summary)
    return replace(unmeasured, **unmeasured.remembered(data.features)._asdict())


@contextmanager
def _sandbox(settings: TorchSettings) -> Iterator[torch.device]:
    """Draw from the settings' seed and use their threads, and leave torch as it was."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda: expected a torch with a working CUDA device, got none; choose cpu")
    cuda = settings.device != "cpu" and torch.cuda.is_available()
    device, threads = torch.device("cuda" if cuda else "cpu"), torch.get_num_threads()
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if cuda else []):
        torch.manual_seed(settings.seed)
        try:
            torch.set_num_threads(settings.threads or threads)
            yield device
        finally:
            torch.set_num_threads(threads)


class _Training:
    """One training: the network, what it learns from, and the average of its weights."""

    def __init__(self, name: str, network: TorchNetwork, task: Task, settings: TorchSettings) -> None:
        self._name, self._network, self._task, self._settings = name, network, task, settings
        device = device_of(network.module)
        self._features, self._targets, self._rest = (
            torch.tensor(values, device=device) for values in (task.features, task.targets, task.rest)
        )
        self._parameters = list(network.module.parameters())
        self._optimizer = torch.optim.AdamW(
            self._parameters, settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._average = self._copied()
        self._updates = 0
        self._rng = np.random.default_rng(settings.seed)
        self._checked = overlapping(
            task.cut, len(task.features), task.segments, VALIDATION_STREAMS, run_in=settings.sequence
        )

    def run(self) -> dict[str, Any]:
        """Train; the network then has the best averaged weights."""
        settings, begun = self._settings, time.monotonic()
        best, best_epoch, best_weights, curve = -math.inf, 0, self._average, list[list[float]]()
        for number in range(1, settings.epochs + 1):
            passed = (time.monotonic() - begun) / (60 * settings.max_minutes)
            done = max((number - 1) / settings.epochs, min(passed, 1.0))
            self._set_rate(done, number)
            loss = self._epoch()
            with self._averaged():
                score = self._score()
            curve.append([round(float(value), 4) for value in score])
            improved = bool(score.mean() > best)
            if improved:
                best, best_epoch, best_weights = float(score.mean()), number, [part.clone() for part in self._average]
            share = max(number / settings.epochs, done)
            tell(Epoch(number, settings.epochs, share, loss, tuple(map(float, score)), improved))
            if passed >= 1 or number - best_epoch >= settings.patience:
                break
        self._put(best_weights)
        return {"best_epoch": best_epoch, "validation_r2": curve[max(best_epoch, 1) - 1], "learning_curve": curve}

    def _set_rate(self, done: float, number: int) -> None:
        rise = min(1.0, number / WARM_UP_EPOCHS)
        for group in self._optimizer.param_groups:
            group["lr"] = self._settings.learning_rate * rise * (0.01 + 0.5 * (1 + math.cos(math.pi * done)))

    def _epoch(self) -> float:
        """Pass once through the training part; return the mean loss."""
        task, settings = self._task, self._settings
        self._network.module.train()
        streams = parallel(0, task.cut, task.segments, settings.streams, float(self._rng.random()))
        worse = Augmentation(settings, streams.bins.shape[1], self._rest)
        counted = streams.real & task.teaches[streams.bins]
        states: States = ()
        total = 0.0
        for piece in self._pieces(len(streams.bins)):
            bins, counts = torch.from_numpy(streams.bins[piece]), torch.from_numpy(counted[piece].astype(np.float32))
            outputs, states = self._network.run(worse.apply(self._features[bins]), states)
            states = tuple(state.detach() for state in states)
            n = float(counts.sum())
            if n:
                squares = (outputs - self._targets[bins]).square().mean(dim=2)
                loss = (squares * counts.to(squares.device)).sum() / n
                self._update(loss)
                total += float(loss.detach()) * n
        mean = total / max(float(counted.sum()), 1.0)
        if not math.isfinite(mean):
            raise ConfigError(
                f"{self._name}: training diverged; expected a finite loss, got {mean}; lower learning_rate"
            )
        return mean

    def _pieces(self, length: int) -> Iterator[slice]:
        """Cut a stream into pieces; the first is shorter, by chance, so that no bin is always a piece's first."""
        longest = self._settings.sequence
        start, stop = 0, int(self._rng.integers((longest + 1) // 2, longest + 1))
        while start < length:
            yield slice(start, min(stop, length))
            start, stop = stop, stop + longest

    def _update(self, loss: Tensor) -> None:
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]  # typed or not, by what torch is installed
        torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.clip)
        self._optimizer.step()
        self._updates += 1
        keep = min(AVERAGING, self._updates / (self._updates + 10))
        for average, parameter in zip(self._average, self._parameters, strict=True):
            average.mul_(keep).add_(parameter.detach(), alpha=1 - keep)

    def _score(self) -> NDArray[np.float64]:
        """Return R2 `(n_outputs,)` on the validation part; 0 where it cannot be told."""
        self._network.module.eval()
        bins, real = self._checked
        with torch.no_grad():
            outputs, _ = self._network.run(self._features[torch.from_numpy(bins)], ())
        counted = real & self._task.teaches[bins]
        return np.nan_to_num(r2(self._task.targets[bins[counted]], outputs.cpu().numpy()[counted]))

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Give the network its averaged weights for a while."""
        own = self._copied()
        self._put(self._average)
        try:
            yield
        finally:
            self._put(own)

    def _copied(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self._parameters]

    def _put(self, values: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self._parameters, values, strict=True):
                parameter.copy_(value)
