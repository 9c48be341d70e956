"""Which colour stands for which decoder, the same in every figure."""

from collections.abc import Sequence
from typing import Final

from cortexwire.training.results import Entry

COLOURS: Final = 8
"""Colours in the style sheet; the ninth decoder begins again, with a dashed line."""


def classes_of(entries: Sequence[Entry]) -> dict[str, str]:
    """The style classes of each entry by name: decoders in the order given, baselines grey."""
    classes, number, grey = {}, 0, 0
    for entry in entries:
        if entry.baseline:
            classes[entry.name] = f"b{grey}"
            grey += 1
        else:
            dashed = " dashed" if number >= COLOURS else ""
            classes[entry.name] = f"c{number % COLOURS}{dashed}"
            number += 1
    return classes
