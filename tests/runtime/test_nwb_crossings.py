from collections.abc import Iterator

import numpy as np

from cortexwire.clients.simulator import parse_source
from cortexwire.decoders import load_bundle
from cortexwire.pipeline.bin_stage import BinStage, Closed
from cortexwire.pipeline.pipeline import front_end_of
from cortexwire.runtime.nwb_export import Crossings, find_crossings
from cortexwire.runtime.shipped import reference_bundle
from cortexwire.sessions.packets import session_packets
from cortexwire.wire import Kind, decode_packet

SOURCE = "sim:channels=96,seconds=4,seed=11"


def stage() -> BinStage:
    bundle = load_bundle(reference_bundle())
    chain = front_end_of(bundle, {"threshold": {"calibration_s": 1.0}})
    return BinStage(bundle.manifest.stream, chain)


def frames(size: int = 600, lost: range = range(0)) -> Iterator[bytes]:
    """Packets of the simulated session, without the signal of some samples."""
    for frame in session_packets(parse_source(SOURCE), size, 1):
        packet = decode_packet(frame)
        if packet.kind is not Kind.WIDEBAND or packet.sample_index not in lost:
            yield frame


def found(size: int = 600, lost: range = range(0)) -> Crossings:
    return find_crossings(stage(), frames(size, lost))


def counted(crossings: Crossings, lost: range = range(0)) -> int:
    """Compare crossings with the counts of every bin; returns the number of crossings."""
    chain = stage()
    closed = [e for frame in frames(600, lost) for e in chain.packet(frame) if isinstance(e, Closed)]
    closed += [e for e in chain.flush() if isinstance(e, Closed)]
    total = 0
    for event in closed:
        if event.calibrated:
            first, last = np.searchsorted(crossings.crossings["sample"], (event.bin.start, event.bin.end))
            mine = np.bincount(crossings.crossings["channel"][first:last], minlength=96)
            np.testing.assert_array_equal(mine, event.bin.counts)
            total += int(event.bin.counts.sum())
    assert total == len(crossings.crossings)
    return total


def test_crossings_are_the_counts_of_every_bin_with_their_samples() -> None:
    crossings = found()
    assert counted(crossings) > 1000
    assert (np.diff(crossings.crossings["sample"]) >= 0).all()
    assert np.isfinite(crossings.thresholds_uv).all()


def test_crossings_do_not_depend_on_packet_size() -> None:
    np.testing.assert_array_equal(found(77).crossings, found(3000).crossings)


def test_crossings_around_missing_packets_are_counted_and_the_hole_is_named() -> None:
    lost = range(60_300, 66_900)
    crossings = found(300, lost)
    chain_lost = range(60_300, 66_900)
    assert counted_with_small_packets(crossings, chain_lost) > 500
    (hole,) = [each for each in crossings.stretches if each.label == "missing"]
    assert (hole.start, hole.stop, hole.missing) == (60_600, 66_600, 6000)
    inside = (crossings.crossings["sample"] >= 60_300) & (crossings.crossings["sample"] < 66_900)
    assert not inside.any()


def counted_with_small_packets(crossings: Crossings, lost: range) -> int:
    chain = stage()
    closed = [e for frame in frames(300, lost) for e in chain.packet(frame) if isinstance(e, Closed)]
    total = sum(int(event.bin.counts.sum()) for event in closed if event.calibrated)
    assert total == len(crossings.crossings)
    return total


def test_every_crossing_lies_where_its_channel_was_observed() -> None:
    crossings = found()
    for channel, observed in enumerate(crossings.observed):
        mine = crossings.crossings["sample"][crossings.crossings["channel"] == channel]
        if len(mine):
            at = np.searchsorted(observed[:, 0], mine, "right") - 1
            assert (at >= 0).all()
            assert (mine < observed[at, 1]).all()
    silent = [channel for channel, observed in enumerate(crossings.observed) if not len(observed)]
    # The simulated rig has flat electrodes, which nobody can observe crossings on.
    assert silent
    assert not np.isin(crossings.crossings["channel"], silent).any()
