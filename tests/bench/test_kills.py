"""A small service whose engine is killed: its lives decode again offline, and the judges find what is tampered with."""

from pathlib import Path

import pytest

from cortexwire.bench.evidence import against_kills
from cortexwire.bench.kills import Heard, Killed, Life, decoded_again, first_bin, killed_service
from cortexwire.decoders import StreamSpec
from cortexwire.signal.design import design_filter
from cortexwire.signal.settings import FilterSettings
from cortexwire.training import seeded_bundle
from cortexwire.types import Rate
from cortexwire.wire import OutFlag, OutKind, RecordKind, Validity

STREAM = StreamSpec(kind="wideband", rate_num=10000, uv_per_bit=0.25, n_channels=4, bin_ms=20.0)
MS = 1_000_000


def test_lives_of_a_killed_engine_decode_again_to_the_same_bytes(tmp_path: Path) -> None:
    chain = FilterSettings(high_hz=3000.0)
    chain = chain.model_copy(update={"design": design_filter(chain, Rate(10_000))})
    front_end = {"filter": chain.model_dump(mode="json"), "threshold": {"calibration_s": 0.5}}
    seeded_bundle(tmp_path / "bundle", seed=1, stream=STREAM, history=3, front_end=front_end)
    rig = ["--channels", "4", "--set", "rate_hz=10000", "--queue-ms", "5000"]
    serve = ["--bundle", str(tmp_path / "bundle"), "--armed", "--set", "tap.megabytes=64", "--no-standby"]
    with killed_service(rig, serve) as service:
        service.kill_engine((0.1, 0.2))
        heard, obeyed, summary = service.end()
        lives = service.tap.lives
    assert (summary["code"], summary["restarts"]) == (0, {"engine": 1})
    assert obeyed["outlived_ms"] == []
    assert service.tap.lost == 0
    assert [life.start.config["armed"] for life in lives] == [True, False]
    assert lives[0].start.thresholds_uv is None
    assert lives[1].start.thresholds_uv is not None
    names = set()
    for life in lives:
        again, taped, last = decoded_again(life, tmp_path, tmp_path / "bundle")
        assert again[: len(taped)] == taped
        assert len(again) - last <= len(taped)
        names |= set(again)
    assert len(heard) > 30
    assert {out.name for out in heard} <= names
    begun = first_bin(lives[1])
    assert begun is not None
    assert begun > max(out.bin for out in heard if out.heard_ns < service.kills[0].at_ns)

    # A packet less, and the offline pipeline says something else.
    packets = [record for record in lives[1].records if record.kind is RecordKind.PACKET]
    without = [record for record in lives[1].records if record is not packets[len(packets) // 2]]
    again, taped, _ = decoded_again(Life(lives[1].start, without), tmp_path, tmp_path / "bundle")
    assert again[: len(taped)] != taped


def heard(bin_: int, published_ms: float, flags: OutFlag = OutFlag.COMMAND) -> Heard:
    at_ns = round(published_ms * MS)
    return Heard(int(OutKind.DECODED), 1, bin_, int(flags), int(Validity.VALID), at_ns, at_ns + MS, "", "", "")


def test_recovery_is_counted_from_the_kill_to_what_a_subscriber_has() -> None:
    kills = [Killed("engine", 1000 * MS, 0.0), Killed("api", 5000 * MS, 250.0)]
    outputs = [heard(1, 980), heard(2, 1300, OutFlag.WARMING), heard(3, 1320)]
    found = against_kills._recovery(kills, outputs)
    assert (found["recovery_ms"]["max"], found["unmarked_again_ms"]["max"]) == (301.0, 321.0)
    assert (found["silence_ms"]["max"], found["api_back_ms"]["max"]) == (320.0, 250.0)
    assert against_kills._recovery(kills, outputs[:1])["recovery_ms"]["max"] == float("inf")


@pytest.mark.parametrize(
    ("outlived", "changes", "problem"),
    [
        ([], [(0, True), (1090 * MS, False)], None),
        ([3.0], [(0, True), (1090 * MS, False)], "1 looks found a command in force past its validity"),
        ([], [(0, True)], "after a kill a consumer moved on for ever"),
        ([], [(0, True), (1130 * MS, False)], "a consumer moved 130.0 ms after a kill"),
        ([], [], "expected a consumer that moved at some kill"),
    ],
)
def test_a_consumer_that_moves_too_long_is_found(
    outlived: list[float], changes: list[tuple[int, bool]], problem: str | None
) -> None:
    obeyed = {"outlived_ms": outlived, "changes": changes, "longest_ms": 2.0, "looks": 9}
    found = against_kills._judge_obedience(obeyed, [Killed("engine", 1000 * MS, 0.0)], [heard(1, 980)])["problems"]
    assert (found[0].split(",")[0] if found else None) == problem


def test_a_bin_that_is_missing_while_the_api_is_killed_is_found() -> None:
    kills = [Killed("api", 1000 * MS, 0.0)]
    assert against_kills._judge_api(kills, [heard(1, 990), heard(5, 1010), heard(6, 1030)]) == []
    assert against_kills._judge_api(kills, [heard(5, 1010), heard(7, 1030)])
    assert against_kills._judge_api(kills, [heard(5, 1010), heard(6, 1030, OutFlag.UNOBSERVED)])


@pytest.mark.parametrize(
    ("kind", "validity", "flags", "marked"),
    [
        (OutKind.DECODED, Validity.VALID, OutFlag.COMMAND | OutFlag.ARMED | OutFlag.CHANNELS, False),
        (OutKind.DECODED, Validity.VALID, OutFlag.WARMING, True),
        (OutKind.DECODED, Validity.PARTIAL, OutFlag(0), True),
        (OutKind.SAFE, Validity.VALID, OutFlag(0), True),
    ],
)
def test_what_counts_as_marked(kind: OutKind, validity: Validity, flags: OutFlag, marked: bool) -> None:
    assert Heard(int(kind), 1, 1, int(flags), int(validity), 0, 0, "", "", "").marked is marked
