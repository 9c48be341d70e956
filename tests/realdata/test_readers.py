"""What others recorded comes out of an engine as it went in, and positive thresholds find sorted spikes."""

import pytest

from cortexwire.bench.evidence.against_readers import matched, sorted_spikes, spike_streams


@pytest.mark.realdata
@pytest.mark.usefixtures("recordings")
def test_spikes_of_files_come_out_of_an_engine_as_counts() -> None:
    pytest.importorskip("neo", reason="needs neo: pip install 'cortexwire[io]'")
    found = spike_streams()
    nev = found["recordings"]["blackrock_nev"]
    assert (nev["events_in"], nev["events_out"], nev["channels_with_events"]) == (14_210, 14_210, 96)
    assert {name: result["channel_bins_that_differ"] for name, result in found["recordings"].items()} == {
        "blackrock_nev": 0,
        "mc_maze_748": 0,
        "mc_maze_1356": 0,
    }
    assert found["passed"]


@pytest.mark.realdata
@pytest.mark.usefixtures("recordings")
def test_positive_thresholds_find_the_spikes_that_a_person_sorted() -> None:
    found = sorted_spikes()
    assert found["spikes"] == 85
    assert found["recall"] >= 0.99
    assert found["precision"] >= 0.95


def test_crossings_and_spikes_are_matched_one_to_one() -> None:
    assert matched([], [1.0]) == []
    assert matched([1.0, 1.2], [1.1]) == [(1.0, 1.1)]
    assert matched([1.0, 2.5], [0.4, 1.6, 3.5]) == [(1.0, 0.4), (2.5, 1.6)]
    assert matched([5.0], [3.99, 6.01]) == []
    assert matched([5.0, 5.1, 9.0], [4.0, 6.1, 10.0]) == [(5.0, 4.0), (5.1, 6.1), (9.0, 10.0)]
