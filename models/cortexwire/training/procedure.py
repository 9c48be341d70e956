"""How a decoder is fitted to one part of a recording and chosen among others: the path that every score here took.

The leakage battery runs this very code.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.manifest import TrainingSpec
from cortexwire.errors import ConfigError
from cortexwire.training.contract import Fitted
from cortexwire.training.export import export_bundle
from cortexwire.training.families import family
from cortexwire.training.metrics import weighted_r2
from cortexwire.training.outputs import NamedOutput
from cortexwire.training.recording import Bins, Recording, Source
from cortexwire.training.results import Candidate

Floats = NDArray[np.float64]
VALIDATION: Final = 0.2
"""Share of the part to fit to, its last block, on which configurations are compared."""


def fit_part(
    recording: Recording, name: str, settings: Mapping[str, Any], part: slice, without: Bins | None = None
) -> Fitted:
    """Fit a family to a part of a recording, which is all that it gets to see.

    Args:
        recording: The recording.
        name: Name of the family.
        settings: Its settings.
        part: The bins to fit to.
        without: Bins whose targets are hidden.

    Raises:
        ConfigError: The family or a setting is unknown, or the part cannot be fitted to.
    """
    fam = family(name)
    return fam.fit(recording.training(part, without), fam.check(settings))


def decoded_by(fitted: Fitted, recording: Recording) -> Floats:
    """Decode all bins of a recording by the reference, in one run from its first bin, `(n_bins, n_columns)`."""
    return np.asarray(fitted.predict(recording.features)["velocity"], np.float64)


def choose(
    recording: Recording, name: str, candidates: Iterable[Mapping[str, Any]], part: slice
) -> tuple[Mapping[str, Any], tuple[Candidate, ...]]:
    """Choose settings by the score on the last block of the part to fit to.

    Args:
        recording: The recording.
        name: Name of the family.
        candidates: Settings to choose from; a single one is not tried.
        part: The bins to fit to; nothing outside of it is looked at.

    Returns:
        The best settings, and what each scored.

    Raises:
        ConfigError: There is no candidate, or none can be fitted.
    """
    given = tuple(candidates)
    if not given:
        raise ConfigError(f"{name}: expected settings to choose from, got none")
    if len(given) == 1:
        return given[0], ()
    start, stop = part.start or 0, part.stop
    cut = stop - round(VALIDATION * (stop - start))
    tried = []
    for settings in given:
        fitted = fit_part(recording, name, settings, slice(start, cut))
        predicted = np.asarray(fitted.predict(recording.features[start:stop])["velocity"], np.float64)
        block = slice(cut - start, stop - start)
        tried.append(
            Candidate(settings=dict(settings), r2=weighted_r2(recording.targets[start:stop][block], predicted[block]))
        )
    best = int(np.nanargmax([candidate.r2 for candidate in tried]))
    return given[best], tuple(tried)


@dataclass(frozen=True, eq=False)
class Maker:
    """Fits and exports decoders of one recording.

    Attributes:
        source: The recording and its stream.
        name: Name of the family.
        folder: Where bundles are put.
        seed: What the manifest says of the seed.
    """

    source: Source
    name: str
    folder: str | os.PathLike[str]
    seed: int = 0

    def make(
        self, label: str, settings: Mapping[str, Any], part: slice, without: Bins | None = None
    ) -> tuple[Fitted, Bundle]:
        """Fit to a part and write the bundle `label`; one that is there is replaced.

        Raises:
            ConfigError: The family cannot be fitted so.
            BundleError: The export was refused.
        """
        recording = self.source.recording
        fitted = fit_part(recording, self.name, settings, part, without)
        training = TrainingSpec(
            channel_rates_hz=self.source.rates_hz,
            seed=self.seed,
            sessions=(recording.name,),
            split={**self.source.split, "train_bins": [part.start, part.stop]},
            settings={"columns": list(recording.columns)},
        )
        bundle = export_bundle(
            fitted,
            os.path.join(self.folder, label),
            name=f"{self.name}-{recording.name}",
            family=self.name,
            stream=self.source.stream,
            front_end=self.source.front_end.model_dump(mode="json"),
            content=recording.content,
            unit=recording.unit,
            outputs=(NamedOutput("velocity", recording.columns, 0, recording.unit),),
            recorded=recording.features[part][:PARITY_BINS],
            training=training,
            replace=True,
        )
        return fitted, bundle


PARITY_BINS: Final = 2000
"""Recorded bins over which a bundle made for a comparison is proven."""
Progress = Callable[[float, str], Any]
"""Told the share that is done, and what is being done."""
