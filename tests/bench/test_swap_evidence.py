"""The must-show run of hot swap, in the small."""

import pytest

from cortexwire.bench.evidence.swaps import swap_run


@pytest.mark.parametrize("executor", ["onnx", "incremental"])
def test_swaps_in_a_live_stream_are_those_of_a_replay(executor: str) -> None:
    found = swap_run(swaps=2, channels=16, executors=(executor,))  # type: ignore[arg-type]
    assert found["passed"], found
    assert found["swaps"] == 4
