"""What evidence is taken on: the real recordings, and a decoder of random weights that is committed with the tests.

Both are found from the source tree, because evidence is taken in a clone of it. The recordings lie where
`CORTEXWIRE_DATA` says, else in `../shared/data` beside the clone.
"""

import os
from pathlib import Path
from typing import Final

from cortexwire.bench.live import RunError
from cortexwire.decoders import Bundle
from cortexwire.decoders.manifest import StreamSpec
from cortexwire.sessions import RecordedSession, open_session
from cortexwire.signal.design import design_filter
from cortexwire.signal.settings import FilterSettings, FrontEndSettings, ReferenceSettings, ThresholdSettings
from cortexwire.training.seeded import seeded_bundle
from cortexwire.types import Rate

ROOT: Final = Path(__file__).resolve().parents[4]
"""The clone."""
SEEDED_BUNDLE: Final = ROOT / "tests" / "realdata" / "seeded_bundle"
"""A decoder for `neuralink_n1`: random weights, none of them zero."""
SEED: Final = 20
N1_CHANNELS: Final = 96
N1_RATE: Final = Rate(19_531)
CALIBRATION_S: Final = 1.0
"""Short, so that most of a clip of 5 s is decoded."""
NO_CEILING_UV: Final = 1e6
"""The recording has no scale in microvolts, so a ceiling in microvolts means nothing."""


def data_folder() -> Path:
    """The folder of real recordings.

    Raises:
        RunError: There is none.
    """
    folder = Path(os.environ.get("CORTEXWIRE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        raise RunError(f"expected the real recordings in {folder}; name their folder in CORTEXWIRE_DATA")
    return folder


def recording(name: str) -> RecordedSession:
    """Open the recording that `docs/sessions/NAME.toml` describes.

    Raises:
        RunError: There is no folder of recordings.
        SessionError: It cannot be read.
    """
    session = open_session(ROOT / "docs" / "sessions" / f"{name}.toml", data_folder())
    assert isinstance(session, RecordedSession)
    return session


def n1_front_end() -> FrontEndSettings:
    """The signal chain of the committed bundle: mean reference, default filter, counts and band power."""
    return FrontEndSettings(
        features=("counts", "band_power"),
        reference=ReferenceSettings(mode="mean"),
        filter=FilterSettings(design=design_filter(FilterSettings(), N1_RATE)),
        threshold=ThresholdSettings(calibration_s=CALIBRATION_S, noise_ceiling_uv=NO_CEILING_UV),
    )


def write_seeded_bundle(path: Path = SEEDED_BUNDLE) -> Bundle:
    """Write the committed bundle again; nothing in it comes from a recording.

    Raises:
        BundleError: As `seeded_bundle`.
    """
    chain = n1_front_end()
    stream = StreamSpec(
        kind="wideband",
        rate_num=N1_RATE.num,
        rate_den=N1_RATE.den,
        uv_per_bit=1.0,
        n_channels=N1_CHANNELS,
        reference="unknown",
        bin_ms=chain.bin_ms,
    )
    return seeded_bundle(
        path,
        seed=SEED,
        stream=stream,
        content=chain.features,
        front_end=chain.model_dump(mode="json"),
        feature_mean=[0.05] * N1_CHANNELS + [2e5] * N1_CHANNELS,
        feature_scale=[0.25] * N1_CHANNELS + [2e5] * N1_CHANNELS,
        replace=True,
    )


if __name__ == "__main__":
    write_seeded_bundle()
