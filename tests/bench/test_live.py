"""Live runs are complete, equal offline ones, and fail aloud."""

from pathlib import Path

import numpy as np
import pytest

from cortexwire.bench.evidence.identity import compare, first_difference, packet_sizes, simulated_case
from cortexwire.bench.evidence.sources import data_folder
from cortexwire.bench.live import Child, RunError, lossless_config, replay_live, short_folder, untimed
from cortexwire.wire import OutFlag, OutKind, Output, encode_output


def output(bin_: int = 3, velocity: float = 1.0, restart: int = 0) -> bytes:
    tensors = {"velocity": np.array([velocity, 0], np.float32)}
    return encode_output(Output(OutKind.DECODED, 1, bin_, 600, restart=restart, tensors=tensors))


def test_outputs_of_simulated_channels_are_the_same_bytes_live_and_offline(tmp_path: Path) -> None:
    result = compare(simulated_case(tmp_path, 3, 1.0, (7, "random")))
    assert result["passed"], result
    assert result["runs"] == 4
    assert len(result["sha256"]) == 1
    assert result["decoded_each"] > 20


def test_a_live_run_holds_every_output_of_its_stream_and_ends_with_the_end(tmp_path: Path) -> None:
    case = simulated_case(tmp_path, 3, 1.0, (30,))
    with short_folder() as folder:
        run = replay_live(lossless_config(case.bundle, folder), case.session, 30, epoch=9)
    assert {out.epoch for out in run.outputs} == {9}
    assert OutFlag.ENDED in run.outputs[-1].flags
    assert [out.bin for out in run.outputs if out.kind is OutKind.DECODED] == list(range(50))[
        -run.counters["decoded_bins"] :
    ]
    assert run.counters["lost_packets"] == 0
    assert run.cpu_s > 0


def test_a_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    config = lossless_config(tmp_path / "no_bundle", tmp_path).model_dump(mode="json")
    with pytest.raises(RunError, match=r"engine: ended with exit status 1: (?s:.*)no_bundle"):
        Child("engine", config)


def test_variables_of_the_environment_do_not_reach_a_measured_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORTEXWIRE_NONSENSE", "1")
    with Child("sleep", {}) as child:
        environment = Path(f"/proc/{child.pid}/environ").read_bytes()
        assert b"CORTEXWIRE_NONSENSE" not in environment
        assert child.stop().keys() == {"over_ns"}


def test_without_recordings_it_says_where_they_were_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTEXWIRE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(RunError, match="nowhere; name their folder in CORTEXWIRE_DATA"):
        data_folder()


def test_a_difference_names_output_bins_fields_and_tensors() -> None:
    same = [output(), output(4)]
    assert first_difference(same, [*same]) is None
    assert first_difference(same, same[:1]) == "expected 2 outputs, got 1"
    assert first_difference(same, [output(), output(5)]) == "output 1: bins 4 and 5 differ in bin"
    found = first_difference(same, [output(velocity=-1.0, restart=2), output(4)])
    assert found == "output 0: bins 3 and 3 differ in restart, tensor velocity"


def test_times_do_not_count() -> None:
    assert len(untimed([output()])) == 1


def test_random_packet_sizes_are_the_same_each_time() -> None:
    one, other = packet_sizes("random"), packet_sizes("random")
    assert not isinstance(one, int)
    assert not isinstance(other, int)
    assert not callable(one)
    assert not callable(other)
    pairs = [next(pair) for pair in [zip(one, other, strict=False)] for _ in range(100)]
    assert all(a == b for a, b in pairs)
    assert len({a for a, _ in pairs}) > 20
