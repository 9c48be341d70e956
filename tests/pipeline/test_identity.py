import numpy as np
import pytest

from cortexwire.errors import ConfigError
from cortexwire.pipeline.identity import Identity, IdentityState
from cortexwire.pipeline.settings import IdentitySettings
from cortexwire.wire.descriptor import Descriptor, Electrode

N = 6
ELECTRODES = tuple(Electrode(f"e{channel}", "AB"[channel % 2]) for channel in range(N))
RATES = np.array([1.0, 4.0, 9.0, 16.0, 25.0, 36.0])


def make(electrodes: tuple[Electrode, ...] = ELECTRODES) -> Identity:
    return Identity(IdentitySettings(), electrodes, RATES)


def swapped(a: int, b: int) -> tuple[Electrode, ...]:
    order = list(range(N))
    order[a], order[b] = b, a
    return tuple(ELECTRODES[i] for i in order)


def test_nothing_may_be_armed_before_the_rig_has_said_who_it_is() -> None:
    identity = make()
    assert identity.state is IdentityState.UNKNOWN
    assert identity.blocks_arming
    assert "has not sent its electrode identities" in identity.why


def test_the_same_electrodes_in_the_same_order_are_verified() -> None:
    identity = make()
    identity.descriptor(Descriptor("rig", ELECTRODES))
    assert identity.state is IdentityState.VERIFIED
    assert not identity.blocks_arming
    assert identity.why == ""


def test_a_mismatch_names_the_first_channel_and_how_many_differ() -> None:
    identity = make()
    identity.descriptor(Descriptor("rig", swapped(2, 4)))
    assert identity.state is IdentityState.MISMATCH
    assert identity.refused
    assert identity.blocks_arming
    assert identity.why == (
        "electrode identities differ: channel 2 expected e2 (bank A), got e4 (bank A); 2 of 6 channels differ"
    )


def test_the_bank_is_part_of_an_identity() -> None:
    identity = make()
    identity.descriptor(Descriptor("rig", (Electrode("e0"), *ELECTRODES[1:])))
    assert identity.why.startswith("electrode identities differ: channel 0 expected e0 (bank A), got e0;")


def test_another_number_of_electrodes_is_a_mismatch() -> None:
    identity = make()
    identity.descriptor(Descriptor("rig", ELECTRODES[:5]))
    assert identity.why == "electrode identities differ: expected 6 electrodes, got 5"


def test_a_mismatch_cannot_be_confirmed_away() -> None:
    identity = make()
    identity.descriptor(Descriptor("rig", swapped(0, 1)))
    with pytest.raises(ConfigError, match="cannot confirm the identity: electrode identities differ"):
        identity.confirm()
    assert identity.refused


def test_confirming_what_is_verified_changes_nothing() -> None:
    identity = make()
    identity.descriptor(Descriptor("rig", ELECTRODES))
    identity.confirm()
    assert identity.state is IdentityState.VERIFIED


def test_without_identities_rates_that_agree_allow_arming() -> None:
    identity = make()
    identity.announced(0)
    assert identity.state is IdentityState.ABSENT
    assert identity.blocks_arming
    assert identity.rates(RATES * 1.1 + 2) == pytest.approx(1.0)
    assert not identity.blocks_arming


def test_without_identities_rates_that_disagree_block_until_confirmed() -> None:
    identity = make()
    identity.announced(0)
    correlation = identity.rates(RATES[::-1])
    assert correlation is not None
    assert correlation < 0
    assert identity.correlation == correlation
    assert f"channel rates correlate {correlation:.2f} with training's, expected at least 0.80" in identity.why
    assert not identity.refused
    identity.confirm()
    assert identity.state is IdentityState.CONFIRMED
    assert not identity.blocks_arming


@pytest.mark.parametrize(
    "rates",
    [
        np.full(N, 3.0),
        np.ones(N - 1),
        np.array([1.0, 2.0, np.nan, np.nan, np.nan, np.nan]),
    ],
)
def test_rates_that_cannot_be_compared_block(rates: np.ndarray) -> None:
    identity = make()
    identity.announced(0)
    assert identity.rates(rates) is None
    assert "cannot be compared" in identity.why
    assert identity.why.endswith("(`cortexwire control confirm`, POST /v1/identity/confirm)")


def test_channels_without_a_rate_are_left_out_of_the_correlation() -> None:
    identity = make()
    identity.announced(0)
    now = RATES.copy()
    now[3] = np.nan
    assert identity.rates(now) == pytest.approx(1.0)


@pytest.mark.parametrize("came", [(), ELECTRODES])
def test_a_bundle_without_identities_has_nothing_to_compare(came: tuple[Electrode, ...]) -> None:
    identity = make(())
    identity.descriptor(Descriptor("rig", came))
    assert identity.state is IdentityState.ABSENT
    assert identity.why.startswith("the bundle has no electrode identities")


def test_a_descriptor_without_electrodes_is_no_identity() -> None:
    identity = make()
    identity.descriptor(Descriptor("rig"))
    assert identity.state is IdentityState.ABSENT
    assert identity.why.startswith("the rig sends no electrode identities and channel rates have not been")


def test_a_confirmation_outlasts_the_same_descriptor_and_a_stream_without_one() -> None:
    identity = make()
    descriptor = Descriptor("rig")
    identity.announced(descriptor.hash)
    identity.descriptor(descriptor)
    identity.confirm()
    identity.announced(descriptor.hash)
    identity.descriptor(descriptor)
    identity.descriptor(Descriptor("rig"))
    assert identity.state is IdentityState.CONFIRMED


def test_an_announced_change_blocks_until_its_descriptor_comes() -> None:
    identity = make()
    same, other = Descriptor("rig", ELECTRODES), Descriptor("rig", swapped(1, 2))
    identity.announced(same.hash)
    identity.descriptor(same)
    identity.announced(other.hash)
    assert "has not sent" in identity.why
    identity.descriptor(other)
    assert identity.refused
    identity.announced(same.hash)
    identity.descriptor(same)
    assert identity.state is IdentityState.VERIFIED


def test_a_new_stream_has_to_show_its_identity_again() -> None:
    identity = make()
    identity.announced(0)
    identity.rates(RATES)
    identity.confirm()
    identity.reset()
    assert identity.state is IdentityState.UNKNOWN
    assert identity.correlation is None
    assert identity.blocks_arming
