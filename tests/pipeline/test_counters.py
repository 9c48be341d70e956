from cortexwire.pipeline.counters import MALFORMED_REASONS, Counters


def test_every_count_has_a_name_and_starts_at_zero() -> None:
    counts = Counters().as_dict()
    assert set(counts.values()) == {0}
    assert {"lost_packets", "late_bins", "resets", "malformed_checksum"} <= set(counts)
    assert list(counts)[-len(MALFORMED_REASONS) :] == [f"malformed_{reason}" for reason in MALFORMED_REASONS]


def test_names_and_their_order_do_not_depend_on_what_was_counted() -> None:
    counters = Counters()
    names = list(counters.as_dict())
    counters.gaps += 3
    counters.malformed["magic"] += 1
    assert list(counters.as_dict()) == names
    assert counters.as_dict()["gaps"] == 3
    assert counters.as_dict()["malformed_magic"] == 1


def test_objects_do_not_share_counts() -> None:
    Counters().malformed["kind"] += 1
    assert Counters().malformed["kind"] == 0
