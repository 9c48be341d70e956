from itertools import pairwise

import numpy as np

from cortexwire.pipeline.channels import QUIET_S, ChannelWatch, in_words
from cortexwire.signal.binning import DEAD, RAILING, Bin

N = 4
BIN_S = 0.1
QUIET_BINS = round(QUIET_S / BIN_S)


def closed(index: int, **faulty: int) -> Bin:
    """A bin in which channel `cK` has these status bits."""
    status = np.zeros(N, np.uint8)
    for name, bits in faulty.items():
        status[int(name[1:])] = bits
    counts = np.zeros(N, np.uint16)
    return Bin(index, index, index + 1, counts, None, 1, 0, 0, status, int(np.count_nonzero(status)))


def test_channels_are_named_in_words() -> None:
    assert in_words([]) == "no channel"
    assert in_words([91]) == "channel 91"
    assert in_words([3, 91]) == "channels 3 and 91"
    assert in_words(list(range(18))).endswith(" 14, 15 and 2 more")


def test_a_fault_is_told_at_once_and_each_kind_by_itself() -> None:
    watch = ChannelWatch(N, BIN_S, 1.0)
    assert watch.changes(closed(0)) == []
    assert watch.changes(closed(1, c1=RAILING)) == ["channel 1 is at the rails"]
    assert watch.changes(closed(2, c1=DEAD, c2=DEAD)) == ["channels 1 and 2 are dead"]


def test_a_channel_that_comes_and_goes_is_told_of_once_a_minute_and_then_as_it_is() -> None:
    watch = ChannelWatch(N, BIN_S, 1.0)
    told = [
        (index, note)
        for index in range(5 * QUIET_BINS)
        for note in watch.changes(closed(index, **({"c1": RAILING} if index < 3 * QUIET_BINS and index % 7 else {})))
    ]
    assert all(later - earlier >= QUIET_BINS for (earlier, _), (later, _) in pairwise(told))
    assert told[0] == (1, "channel 1 is at the rails")
    assert told[-1][1] == "channel 1 is no longer at the rails"
    assert 2 <= len(told) <= 5


def test_another_channel_is_told_of_while_one_is_not() -> None:
    watch = ChannelWatch(N, BIN_S, 1.0)
    watch.changes(closed(0, c1=RAILING))
    assert watch.changes(closed(1)) == []
    assert watch.changes(closed(2, c3=RAILING)) == ["channel 3 is at the rails"]
    assert watch.report(None, None).status.tolist() == [0, 0, 0, RAILING]
