"""On real recordings, packet size and way of decoding show in no bit of any output."""

import pytest

from cortexwire.bench.evidence.identity import SIZES, identity

pytestmark = [pytest.mark.realdata, pytest.mark.usefixtures("recordings")]


def test_outputs_are_the_same_bytes_for_every_packet_size_live_and_offline() -> None:
    found = identity(n1_s=2.0, contdata_s={1.0: SIZES, 20.0: (600, "random")}, channels=())
    assert len(found["cases"]) == 3
    for name, result in found["cases"].items():
        assert result["differences"] == {}, name
        assert result["decoded_each"] > 40, name
    assert found["passed"]
