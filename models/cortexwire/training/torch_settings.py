"""Settings that all decoders trained by gradient descent share; reading them takes no torch."""

from typing import Annotated, Literal

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Amount = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class TorchSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to train.

    Attributes:
        learning_rate: Where the cosine schedule starts.
        weight_decay: Of AdamW.
        epochs: Passes through the training part at most.
        max_minutes: Time that the schedule is shortened to if the epochs would take longer; what is learned is
            then no longer repeatable.
        patience: Epochs without a better validation score before training ends.
        sequence: Bins that a gradient runs back through.
        streams: Parallel streams that the training part is cut into.
        clip: Largest norm of a gradient.
        input_dropout: Share of the single feature values that are hidden while training.
        dropout: Share of the hidden units that are.
        channel_dropout: Share of the features that are silent throughout a stream, as a lost channel is.
        count_noise: Standard deviation of the noise on each feature, in standard deviations of the feature.
        gain_drift: Standard deviation of the slow relative change of each feature's gain.
        validation_fraction: Share of the teaching bins, at the end, on which training is stopped.
        seed: Draws everything that is random.
        threads: Threads of torch; 0 leaves it as it is.
        device: Where to train; `auto` takes CUDA where it works.
    """

    learning_rate: Positive = 3e-3
    weight_decay: Amount = 1e-4
    epochs: Count = 60
    max_minutes: Positive = 10.0
    patience: Count = 15
    sequence: Count = 100
    streams: Count = 16
    clip: Positive = 1.0
    input_dropout: Share = 0.3
    dropout: Share = 0.3
    channel_dropout: Share = 0.0
    count_noise: Amount = 0.0
    gain_drift: Amount = 0.0
    validation_fraction: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.15
    seed: int = 0
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
