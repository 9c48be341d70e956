"""The synthetic rig as a session of stated length, and its name: `sim:channels=96,seconds=300`."""

from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cortexwire.clients.simulator.settings import SimulatorSettings
from cortexwire.clients.simulator.simulator import COLUMN_UNITS, Simulator
from cortexwire.errors import ConfigError, SessionError
from cortexwire.sessions import TRIAL_DTYPE
from cortexwire.sessions.session import DEFAULT_COLUMN_MS, Kind
from cortexwire.types import Counts, Rate
from cortexwire.wire import Descriptor

PREFIX = "sim"
DEFAULT_SECONDS = 60.0


class SimulatedSession:
    """A `Session` whose samples are made when they are asked for; reading in order is cheapest.

    Args:
        settings: Settings of the rig.
        seconds: Length of the session.

    Raises:
        ConfigError: The session would hold no sample.
    """

    kind: Kind = "wideband"
    problems: tuple[str, ...] = ()

    def __init__(self, settings: SimulatorSettings, seconds: float = DEFAULT_SECONDS) -> None:
        self.settings = settings
        self.n_samples = round(seconds * settings.rate_hz)
        if self.n_samples < 1:
            raise ConfigError(f"simulated session: expected at least one sample, got {seconds} s")
        self.simulator = Simulator(settings)
        edges = self.simulator.trial_edges(self.n_samples)
        whole = edges[1:] <= self.n_samples
        self.trials = np.zeros(int(whole.sum()), TRIAL_DTYPE)
        self.trials["start"] = edges[:-1][whole]
        self.trials["stop"] = edges[1:][whole]

    @property
    def name(self) -> str:
        """The source's name on the command line, as far as it names the run."""
        s = self.settings
        return f"{PREFIX}:channels={s.channels},subject={s.subject},seed={s.seed}"

    @property
    def rate(self) -> Rate:
        """Sample rate."""
        return self.simulator.rate

    @property
    def n_channels(self) -> int:
        """Number of electrodes."""
        return self.settings.channels

    @property
    def uv_per_bit(self) -> float:
        """Microvolts per unit of a sample."""
        return self.settings.uv_per_bit

    @property
    def descriptor(self) -> Descriptor:
        """Electrode identities, scale and column names."""
        return self.simulator.descriptor

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the kinematic columns."""
        return self.simulator.column_names

    @property
    def column_units(self) -> tuple[str, ...]:
        """Their units."""
        return COLUMN_UNITS

    def wideband(self, start: int, stop: int) -> NDArray[np.int16]:
        """Samples `[start, stop)`, `(n, n_channels)`.

        Raises:
            SessionError: The range leaves the session.
        """
        self._check(start, stop)
        return self.simulator.read(start, stop)

    def events(self, start: int, stop: int) -> NDArray[np.void]:
        """Refuse: the rig sends wideband.

        Raises:
            SessionError: Always.
        """
        self._refuse("events")

    def counts(self, start: int, stop: int) -> tuple[NDArray[np.int64], Counts]:
        """Refuse: the rig sends wideband.

        Raises:
            SessionError: Always.
        """
        self._refuse("counts")

    def column_rows(
        self, start: int, stop: int, column_ms: float = DEFAULT_COLUMN_MS
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Kinematic rows in `[start, stop)` as they go over the wire: samples `(m,)` and values `(m, 4)`.

        Raises:
            SessionError: The range leaves the session.
        """
        self._check(start, stop)
        return self.simulator.columns(start, stop, column_ms)

    def columns_at(self, samples: NDArray[np.int64]) -> NDArray[np.float64]:
        """Kinematics at any samples, `(m, 4)`; NaN outside the session."""
        samples = np.asarray(samples, np.int64)
        values = np.full((samples.size, len(self.column_names)), np.nan)
        inside = (samples >= 0) & (samples < self.n_samples)
        values[inside] = self.simulator.kinematics_at(samples[inside])
        return values

    def _check(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.n_samples:
            came = f"[{start}, {stop})"
            raise SessionError(f"{self.name}: expected a range within [0, {self.n_samples}), got {came}")

    def _refuse(self, wanted: str) -> NoReturn:
        raise SessionError(f"{self.name}: expected a recording of {wanted}, got wideband")


def parse_source(text: str) -> SimulatedSession:
    """Make the session that a command line names.

    Args:
        text: `sim`, or `sim:` and settings as `key=value` with commas between; besides the fields of
            `SimulatorSettings` there is `seconds` (default 60).

    Raises:
        ConfigError: The text is no such name, or a key or value cannot be.
    """
    prefix, _, listed = text.partition(":")
    if prefix != PREFIX:
        raise ConfigError(f"source {text!r}: expected 'sim:key=value,...'")
    values: dict[str, str] = {}
    for item in filter(None, listed.split(",")):
        key, equals, value = item.partition("=")
        if not equals or key in values:
            raise ConfigError(f"source {text!r}: expected key=value once for each key, got {item!r}")
        values[key] = value
    try:
        seconds = float(values.pop("seconds", DEFAULT_SECONDS))
        settings = SimulatorSettings.model_validate(values)
    except ValidationError as error:
        faults = [_in_words(fault) for fault in error.errors()]
        raise ConfigError(f"source {text!r}: {'; '.join(faults)}") from error
    except ValueError as error:
        raise ConfigError(f"source {text!r}: expected a number of seconds: {error}") from error
    return SimulatedSession(settings, seconds)


def _in_words(fault: ErrorDetails) -> str:
    name = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        known = ", ".join(("seconds", *SimulatorSettings.model_fields))
        return f"there is no setting {name!r}; expected one of {known}"
    return f"{name}: {fault['msg'][:1].lower()}{fault['msg'][1:]}, got {fault['input']!r}"
