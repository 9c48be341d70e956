"""The decoder's step: every executor, int8, several sessions at once, and torch eager beside, all in one run.

Whatever decodes the same network takes turns with the others, in a hot loop and paced at one step every bin. What is
fed is drawn counts; each contender is first compared with the first of them over the same bins.

A decoder that adds up crossings as they come is timed at the end of its bins only, since that is all that an output
waits for: what it does before is reported as `ahead_us`. So that all are waited for alike, the thread is woken at every
packet of a paced bin, whoever's turn it is.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import numpy as np

from cortexwire.bench.batched_step import BatchedStep
from cortexwire.bench.distribution import encoded_all, percentiles
from cortexwire.bench.drawn_decoders import DECODERS, SEED, Drawn, drawn_bundle, drawn_fitted, int8_bundle
from cortexwire.bench.dynamic_int8 import dynamic_int8_step
from cortexwire.bench.environment import environment_record
from cortexwire.bench.followed_step import PARTS, FollowedStep
from cortexwire.bench.turns import Step, Times, hot, paced
from cortexwire.decoders import Bundle, OnnxDecoder, make_decoder
from cortexwire.decoders.contract import CountingDecoder, Decoder
from cortexwire.errors import BundleError, ConfigError
from cortexwire.training.network import FittedNetwork
from cortexwire.training.seeded_gru import drawn_counts
from cortexwire.types import Features

EXECUTORS: Final[dict[str, Callable[[Bundle], Decoder]]] = {
    "onnx": lambda bundle: OnnxDecoder(bundle, "cpu"),
    "incremental": lambda bundle: make_decoder(bundle, "incremental"),
}
"""Executors by name, each made from a bundle."""
SECONDS: Final = 4.0
PERIOD_MS: Final = 20.0
BATCH: Final = 16
TORCH_FAMILIES: Final = ("gru", "lstm")
NO_TORCH: Final = "torch is not installed: pip install 'cortexwire[train]'"
_COMPARED: Final = 50

Told = Callable[[float, str], object]


def run_decoders(
    decoders: Sequence[Drawn] = DECODERS,
    seconds: float = SECONDS,
    *,
    executors: Sequence[str] = tuple(EXECUTORS),
    batch: int = BATCH,
    told: Told = lambda _share, _what: None,
) -> dict[str, Any]:
    """Measure the step of decoders.

    Args:
        decoders: Which ones.
        seconds: How long each contender has, hot and paced each.
        executors: Names of `EXECUTORS`; the first is what the others are compared with.
        batch: Sessions that one step decodes in the batched contender.
        told: Told how far it is.

    Returns:
        JSON-able: the environment, and for each decoder the contenders' times hot and paced, in microseconds, the
        ratios of their medians to the first executor's, and how far they are from its outputs.

    Raises:
        ConfigError: There is no executor of a name.
        BundleError: A bundle cannot be made.
    """
    unknown = [name for name in executors if name not in EXECUTORS]
    if unknown or not executors:
        raise ConfigError(f"executors: expected some of {', '.join(EXECUTORS)}, got {', '.join(executors) or 'none'}")
    results = []
    with tempfile.TemporaryDirectory(prefix="cxw-") as folder:
        for number, decoder in enumerate(decoders):
            told(number / len(decoders), decoder.name)
            results.append(_measure(decoder, Path(folder) / str(number), seconds, executors, batch))
    return {
        "benchmark": "decoders",
        "environment": environment_record(),
        "what": f"one decoder step, microseconds of wall time, one thread, hot and one every {PERIOD_MS:g} ms; "
        "incremental: the end of the bin, and ahead_us all that it does before that, a bin",
        "seconds": seconds,
        "results": results,
    }


def _measure(decoder: Drawn, folder: Path, seconds: float, executors: Sequence[str], batch: int) -> dict[str, Any]:
    folder.mkdir()
    features = drawn_counts(decoder.inputs, SEED)
    bundle = drawn_bundle(decoder, folder / "float32")
    made: dict[str, Callable[[Features], Any]] = {}
    followed: dict[str, FollowedStep] = {}
    absent: dict[str, str] = {}
    for name in executors:
        try:
            executor = EXECUTORS[name](bundle)
        except (ConfigError, BundleError) as error:
            absent[name] = str(error)
            continue
        if isinstance(executor, CountingDecoder):
            followed[name] = FollowedStep(executor, features)
            made[name] = followed[name].bin_of
        else:
            made[name] = executor.step
    if (small := int8_bundle(decoder, folder / "int8")) is not None:
        made["onnx int8"] = OnnxDecoder(small, "cpu").step
        made["onnx int8 dynamic"] = dynamic_int8_step(bundle)
    eager = _torch(decoder)
    if isinstance(eager, str):
        absent["torch eager"] = eager
    elif eager is not None:
        made["torch eager"] = eager
    apart = _apart(made, features)
    steps: dict[str, Step] = {name: followed.get(name) or _fed(step, features) for name, step in made.items()}
    wide = BatchedStep(bundle, batch)
    wide.features[:] = features[:batch] if len(features) >= batch else features[0]
    steps[f"onnx batch {batch}"] = wide.step
    times, ahead = {}, {}
    for kind, timed in (("hot", hot), ("paced", partial(paced, period_ms=PERIOD_MS, parts=PARTS))):
        for step in followed.values():
            step.ahead_us.clear()
        times[kind] = timed(steps, seconds)
        ahead[kind] = {name: percentiles(step.ahead_us) for name, step in followed.items()}
    return {
        "decoder": decoder.name,
        "family": decoder.family,
        "inputs": decoder.inputs,
        "units": decoder.units,
        **{f"{kind}_us": {name: percentiles(_flat(found[name])) for name in steps} for kind, found in times.items()},
        **{f"{kind}_ratio": _ratios(found) for kind, found in times.items()},
        "ahead_us": ahead,
        "batch": batch,
        "batch_us_per_session": {
            kind: round(_median(found[f"onnx batch {batch}"]) / batch, 2) for kind, found in times.items()
        },
        "differs_by": apart,
        **({"absent": absent} if absent else {}),
        "samples": {f"{name} {kind}_us": [_medians(found[name])] for kind, found in times.items() for name in steps},
        "histograms": encoded_all(
            {f"{name} {kind}": _flat(found[name]) for kind, found in times.items() for name in steps}
        ),
    }


def _fed(step: Callable[[Features], Any], features: Features) -> Step:
    rows = cycle(list(features))
    return lambda: step(next(rows))


def _torch(decoder: Drawn) -> Callable[[Features], Any] | str | None:
    """The same network in torch; why not, or None for a family that torch has no cell of."""
    if decoder.family not in TORCH_FAMILIES:
        return None
    try:
        module = import_module("cortexwire.bench.peers.torch_step")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return NO_TORCH
    fitted = drawn_fitted(decoder)
    assert isinstance(fitted, FittedNetwork)
    step: Callable[[Features], Any] = module.TorchStep(fitted).step
    return step


def _apart(made: Mapping[str, Callable[[Features], Any]], features: Features) -> dict[str, float]:
    """How far each contender is from the first over the same bins, relative to its largest output."""
    said = {name: np.stack([_velocity(step(row)) for row in features[:_COMPARED]]) for name, step in made.items()}
    first, *others = said
    largest = float(np.abs(said[first]).max()) or 1.0
    return {name: float(f"{np.abs(said[name] - said[first]).max() / largest:.2g}") for name in others}


def _velocity(output: Any) -> Any:
    return output["velocity"] if isinstance(output, Mapping) else output


def _ratios(times: Times) -> dict[str, float]:
    """Median of each contender over the first one's."""
    first, *others = times
    return {name: round(_median(times[name]) / _median(times[first]), 3) for name in others}


def _flat(turns: Sequence[Sequence[float]]) -> list[float]:
    return [value for turn in turns for value in turn]


def _median(turns: Sequence[Sequence[float]]) -> float:
    return float(np.median(_flat(turns)))


def _medians(turns: Sequence[Sequence[float]]) -> list[float]:
    """The median of each turn: turns, not steps, are what differs from one time to another."""
    return [round(float(np.median(turn)), 2) for turn in turns]
