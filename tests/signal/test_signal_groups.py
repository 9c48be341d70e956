"""Who shares a reference with whom."""

from typing import Any

import pytest

from cortexwire.errors import ConfigError
from cortexwire.signal.groups import reference_groups
from cortexwire.signal.settings import ReferenceSettings
from cortexwire.signal.wideband import WidebandBins
from tests.signal.streams import INT16, RATE, chain


def test_without_groups_all_channels_share_one() -> None:
    groups, group_of = reference_groups(ReferenceSettings(mode="mean"), 5, 32, ())
    assert {name: members.tolist() for name, members in groups.items()} == {"all": [0, 1, 2, 3, 4]}
    assert len(group_of) == 0


def test_banks_and_named_groups() -> None:
    groups, group_of = reference_groups(ReferenceSettings(mode="mean", groups="bank"), 4, 6, ("b", "a", "b", "a"))
    assert {name: members.tolist() for name, members in groups.items()} == {"a": [1, 3], "b": [0, 2]}
    assert group_of.tolist() == [1, 0, 1, 0, -1, -1]
    named = ReferenceSettings(mode="median", groups={"x": (2, 0)})
    groups, group_of = reference_groups(named, 4, 4, ())
    assert groups["x"].tolist() == [2, 0]
    assert group_of.tolist() == [0, -1, 0, -1]


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("bank", "expected the bank of each of 4 channels, got 0 banks"),
        ({"x": (1, 4)}, "group 'x': expected channels 0 to 3, got 4"),
        ({"x": (1,), "y": (1,)}, "group 'y': channel 1 stands in two groups"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        reference_groups(ReferenceSettings(mode="mean", groups=groups), 4, 4, ())


def test_a_group_under_eight_channels_is_refused() -> None:
    settings = chain(reference=ReferenceSettings(mode="mean", groups={"tip": tuple(range(7))}))
    with pytest.raises(ConfigError, match="group 'tip': expected at least 8 live channels, got 7"):
        WidebandBins(settings, RATE, 20, 0.25, INT16)
