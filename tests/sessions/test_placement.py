import numpy as np

from cortexwire.sessions.placement import place_counts


def placed(counts: np.ndarray, seed: int = 0, first_row: int = 0) -> np.ndarray:
    widths = np.full(len(counts), 3000)
    return place_counts(counts.astype(np.uint16), first_row, (np.arange(len(counts)) + first_row) * 3000, widths, seed)


def test_every_count_becomes_one_event_inside_its_bin() -> None:
    counts = np.random.default_rng(3).poisson(2, (50, 7))
    spikes = placed(counts)
    again = np.zeros_like(counts)
    np.add.at(again, (spikes["sample"] // 3000, spikes["channel"]), 1)
    assert (again == counts).all()


def test_events_are_sorted_by_sample_then_channel() -> None:
    spikes = placed(np.full((20, 96), 9))
    keys = spikes["sample"] * 1000 + spikes["channel"]
    assert (np.diff(keys) >= 0).all()


def test_a_row_is_placed_alike_whatever_is_read_with_it() -> None:
    counts = np.random.default_rng(4).poisson(3, (30, 6))
    whole = placed(counts)
    part = placed(counts[11:17], first_row=11)
    rows = whole["sample"] // 3000
    assert (whole[(rows >= 11) & (rows < 17)] == part).all()


def test_the_seed_changes_the_samples_and_nothing_else() -> None:
    counts = np.random.default_rng(5).poisson(3, (30, 6))
    one, other = placed(counts, 1), placed(counts, 2)
    assert len(one) == len(other)
    assert (one["sample"] != other["sample"]).mean() > 0.9


def test_samples_are_uniform_within_the_bin_and_across_channels() -> None:
    spikes = placed(np.full((400, 25), 4))
    offset = spikes["sample"] % 3000
    shares = np.histogram(offset, 10, (0, 3000))[0] / len(offset)
    assert np.abs(shares - 0.1).max() < 0.01
    by_channel = [offset[spikes["channel"] == channel].mean() for channel in range(25)]
    assert np.abs(np.array(by_channel) - 1500).max() < 5 * 3000 / np.sqrt(12 * 1600)


def test_no_counts_give_no_events() -> None:
    assert len(placed(np.zeros((4, 4)))) == 0
    assert len(placed(np.zeros((0, 4)))) == 0
