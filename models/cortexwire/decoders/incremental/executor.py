"""The incremental executor: what can be computed before the bin's last packet is computed before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numba import typeof, types
from numpy.typing import NDArray

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.contract import State
from cortexwire.decoders.fingerprint import fingerprint
from cortexwire.decoders.graph import Parameters, parse_graph
from cortexwire.decoders.incremental import rows
from cortexwire.decoders.incremental.lowering import Floats, Lowered, Phase, lower
from cortexwire.decoders.incremental.machine import run_program
from cortexwire.decoders.overlay import Overlay
from cortexwire.decoders.servable import check_servable, check_state
from cortexwire.decoders.tensor import aligned_zeros
from cortexwire.errors import BundleError
from cortexwire.types import Counts, Features

N_LEVELS: Final = 33
"""Counts of one channel, from 0 on, that have a level; a bin with a higher one is summed anew at its end."""
MOST_PREPARED: Final = 4
"""Overlays kept ready for `apply`; the oldest go first."""
_F32: Final = np.dtype(np.float32)


@dataclass(frozen=True, eq=False)
class _Wiring:
    """All that an overlay decides: the values in force, the programs that hold them, and the rows."""

    overlay: Overlay | None
    parameters: Parameters
    mean: Floats
    row: Floats
    lowered: Lowered
    rows: NDArray[np.int64]
    entered: int
    programs: Mapping[Phase, tuple[int, int]]
    closing: tuple[int, int]
    kept: tuple[NDArray[Any], ...]


class _Source(NamedTuple):
    """Where crossings are found, and room to put them in order."""

    n_kept: int
    crossings: int
    keys: NDArray[np.int64]
    factors: Floats


class IncrementalDecoder:
    """Decodes one stream with a bundle's graph, cut by what has to wait for what; see `Decoder` for the contract.

    The whole step of the graph is computed, in an order of its own: outputs agree with ONNX Runtime's to about 1e-6 of
    the largest. Between a step and `settle` the states are those of the step; `settle` runs by itself where it is
    left out, so that when it runs makes no difference but in time.

    Args:
        bundle: A verified bundle whose only signal input is `features`, and whose first layer is linear in them, or in
            what is made of each.
        overlay: Values to start with.

    Raises:
        BundleError: The graph holds what only ONNX Runtime can run, or the overlay is not its own.
    """

    executor: Final = "incremental"
    provider: Final = "cpu"

    def __init__(self, bundle: Bundle, overlay: Overlay | None = None) -> None:
        check_servable(bundle)
        self.bundle: Final = bundle
        self.fingerprint: Final = fingerprint(self.executor, self.provider)
        manifest = bundle.manifest
        self.n_features: Final = manifest.n_features
        self._model = parse_graph(bundle.model, str(bundle.path))
        self._states = {spec.name: aligned_zeros(spec.shape, _F32) for spec in manifest.inputs_of("state")}
        # Where nobody tells of crossings there are none: their number is one that stays 0.
        none = np.zeros(1, np.int64)
        self._source = _Source(none.ctypes.data, 0, none, np.zeros(0, np.float32))
        self._run = run_program.compile((types.int64, types.int64))
        self._begin = rows.begin_rows.compile((types.int64,))
        self._follow = rows.follow_crossings.compile((types.int64,))
        columns = typeof(np.zeros(0, np.uint16)), typeof(np.zeros(0, np.uint8))
        self._count = rows.close_counted.compile((types.int64, *columns, types.int64, types.int64, types.int64))
        self._sum = rows.close_dense.compile((types.int64, types.int64))
        self._no_counts = np.zeros(self.n_features, np.uint16), np.zeros(self.n_features, np.uint8)
        self._previous: _Wiring | None = None
        self._prepared: dict[int | None, _Wiring] = {}
        self._unsettled = False
        self._enters_close = False
        self._take(self._wire(overlay))
        self._get_ready()

    @property
    def overlay(self) -> Overlay | None:
        """The overlay in force; None means the bundle's defaults."""
        return self._wiring.overlay

    @property
    def feature_mean(self) -> NDArray[np.float32]:
        """Training mean now in force `(n_features,)`, read-only."""
        return self._wiring.parameters["feature_mean"]

    # Crossings, as the front end keeps them.

    def listen(self, n_kept: int, crossings: int, most: int) -> None:
        """Say where the crossings that the front end keeps in the open bin are found.

        Args:
            n_kept: Address of their number, int64.
            crossings: Address of the crossings, pairs of int32: sample within the bin, channel.
            most: How many there can be.
        """
        self._source = _Source(
            n_kept, crossings, aligned_zeros((most,), np.dtype(np.int64)), aligned_zeros((most,), _F32)
        )
        self._point(self._wiring)
        self.discard()

    def follow(self) -> None:
        """Add the crossings that the front end has kept since the last call."""
        if self._unsettled:
            self.settle()
        self._follow(self._rows)

    def discard(self) -> None:
        """The open bin was closed, and is not decoded."""
        if self._unsettled:
            self.settle()
        self._begin(self._rows)

    # The contract.

    def step(self, features: Features) -> dict[str, NDArray[Any]]:
        """Decode one bin, all of it now, and advance the state.

        Args:
            features: float32 `(n_features,)`.

        Returns:
            A fresh array for each output that is not a state, by name, with the manifest's shape.

        Raises:
            ValueError: The features have another shape.
        """
        if features.shape != self._row.shape:
            raise ValueError(f"features: expected shape {self._row.shape}, got {features.shape}")
        if self._unsettled:
            self.settle()
        self._row[:] = features
        return self._sum_and_close()

    def step_counts(self, counts: Counts, status: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Decode one whole bin whose crossings were followed, and advance the state.

        Args:
            counts: Its counts, uint16 `(n_features,)`, C-contiguous.
            status: Flags, uint8 `(n_features,)`: a channel with any of them enters at its training mean.

        Returns:
            As `step`; where the crossings that were followed are not those of the counts, exactly as `step`.
        """
        if self._unsettled:
            self.settle()
        if self._count(self._rows, counts, status, self._mean_at, *self._closing):
            self._unsettled = True
            return {name: view.copy() for name, view in self._outputs}
        return self._sum_and_close()

    def settle(self) -> None:
        """Do what was put off until the outputs are out: advance the state, and make ready for the next bin."""
        if not self._unsettled:
            return
        self._unsettled = False
        if not self._enters_close:
            self._do(Phase.ENTER)
        self._do(Phase.AFTER)
        self._get_ready()

    def reset(self) -> None:
        """Set every state to zero; the overlay stays in force."""
        for state in self._states.values():
            state.fill(0)
        if self._unsettled:
            self._unsettled = False
            self._begin(self._rows)
        self._do(Phase.AHEAD)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return a copy of every state, with the manifest's shapes."""
        if self._unsettled:
            self.settle()
        return {name: state.copy() for name, state in self._states.items()}

    def set_state(self, state: State) -> None:
        """Continue from a state that `state` gave.

        Raises:
            ValueError: A name or shape differs; the decoder is then as it was.
        """
        check_state({name: own.shape for name, own in self._states.items()}, state)
        if self._unsettled:
            self.settle()
        for name, own in self._states.items():
            own[...] = state[name]
        self._do(Phase.AHEAD)

    def prepare(self, overlay: Overlay) -> None:
        """Do now, on any thread, nearly all that `apply` of this overlay takes.

        Raises:
            BundleError: The overlay belongs to another bundle.
        """
        self._prepared[overlay.hash] = self._wire(overlay)
        while len(self._prepared) > MOST_PREPARED:
            self._prepared.pop(next(iter(self._prepared)), None)

    def apply(self, overlay: Overlay | None) -> None:
        """Put an overlay (None: the bundle's defaults) in force from the next step on; the state stays.

        Raises:
            BundleError: The overlay belongs to another bundle; nothing has changed then.
        """
        wiring = self._prepared.pop(None if overlay is None else overlay.hash, None) or self._wire(overlay)
        self._previous = self._wiring
        self._change(wiring)

    def rollback(self) -> None:
        """Undo the last `apply`.

        Raises:
            BundleError: There is nothing to go back to.
        """
        if self._previous is None:
            raise BundleError("rollback: expected an overlay applied before, got none")
        wiring, self._previous = self._previous, None
        self._change(wiring)

    def warm_up(self, runs: int = 1) -> None:
        """Run throw-away ends of a bin: what they write is what the next one overwrites."""
        if self._unsettled:
            self.settle()
        counts, status = self._no_counts
        for _ in range(runs):
            # The sums hold no such bin, as a rule; what is run here is the same either way.
            if not self._count(self._rows, counts, status, self._mean_at, *self._closing):
                self._do(Phase.CLOSE)

    # How it is done.

    def _do(self, phase: Phase) -> None:
        self._run(*self._programs[phase])

    def _sum_and_close(self) -> dict[str, NDArray[Any]]:
        self._do(Phase.ENTER)
        self._sum(self._rows, self._wiring.entered)
        return self._close()

    def _close(self) -> dict[str, NDArray[Any]]:
        self._do(Phase.CLOSE)
        self._unsettled = True
        return {name: view.copy() for name, view in self._outputs}

    def _get_ready(self) -> None:
        self._do(Phase.AHEAD)
        self._begin(self._rows)

    def _change(self, wiring: _Wiring) -> None:
        if self._unsettled:
            self.settle()
        self._take(wiring)
        self._get_ready()
        # What was added under the old values is not what the new ones would have made of it.
        self._wiring.rows[rows.SPILLED] = 1

    def _take(self, wiring: _Wiring) -> None:
        self._wiring = wiring
        self._row = wiring.row
        self._programs = wiring.programs
        self._enters_close = wiring.lowered.enters_close
        self._closing = wiring.closing
        self._outputs = tuple(wiring.lowered.outputs.items())
        self._rows = wiring.rows.ctypes.data
        self._mean_at = wiring.mean.ctypes.data
        self._point(wiring)

    def _point(self, wiring: _Wiring) -> None:
        source = self._source
        wiring.rows[[rows.N_KEPT, rows.EVENTS]] = source.n_kept, source.crossings
        wiring.rows[[rows.KEYS, rows.FACTORS]] = source.keys.ctypes.data, source.factors.ctypes.data

    def _wire(self, overlay: Overlay | None) -> _Wiring:
        bundle = self.bundle
        if overlay is not None and overlay.bundle_sha256 != bundle.sha256:
            raise BundleError(f"overlay: expected one of bundle {bundle.sha256}, got one of {overlay.bundle_sha256}")
        values = {**bundle.parameters, **(overlay.parameters if overlay else {})}
        # Nothing here is the hot thread's but the addresses of the states.
        row = aligned_zeros((self.n_features,), _F32)
        lowered = lower(self._model, bundle.manifest, values, row, self._states, str(bundle.path))
        programs = {phase: (words.ctypes.data, len(words)) for phase, words in lowered.programs.items()}
        # What the end of a bin reads of the entered values is entered first.
        first = lowered.programs[Phase.ENTER] if lowered.enters_close else lowered.programs[Phase.ENTER][:0]
        closing = np.concatenate([first, lowered.programs[Phase.CLOSE]])
        self._run(*programs[Phase.SETUP])
        mean = aligned_zeros((self.n_features,), _F32)
        mean[:] = values["feature_mean"]
        made = self._levels(lowered, programs[Phase.ENTER], row, mean)
        state = aligned_zeros((rows.N_WORDS,), np.dtype(np.int64))
        for word, array in made.items():
            state[word] = array.ctypes.data
        state[[rows.N_CHANNELS, rows.N_SUMS, rows.N_LEVELS]] = self.n_features, len(lowered.sums), N_LEVELS
        kept = (*made.values(), *lowered.programs.values(), closing)
        ends = closing.ctypes.data, len(closing)
        return _Wiring(overlay, values, mean, row, lowered, state, lowered.entered.ctypes.data, programs, ends, kept)

    def _levels(self, lowered: Lowered, enter: tuple[int, int], row: Floats, mean: Floats) -> dict[int, NDArray[Any]]:
        """What each count, and the training mean, is to the first layer; and the arrays that the rows work on."""
        n = self.n_features
        levels = aligned_zeros((n, N_LEVELS), _F32)
        for count in range(N_LEVELS):
            row.fill(count)
            self._run(*enter)
            levels[:, count] = lowered.entered
        resting = aligned_zeros((n,), _F32)
        row[:] = mean
        self._run(*enter)
        resting[:] = lowered.entered
        row.fill(0)
        self._run(*enter)
        base = aligned_zeros((len(lowered.sums),), _F32)
        base[:] = levels[:, 0].astype(np.float64) @ lowered.weights
        return {
            rows.COUNTS: aligned_zeros((n,), np.dtype(np.int32)),
            rows.LEVELS: levels,
            rows.RESTING: resting,
            rows.WEIGHTS: lowered.weights,
            rows.SUMS: lowered.sums,
            rows.BASE: base,
            rows.FEATURES: row,
            rows.STEPS: aligned_zeros((n,), _F32),
        }
