"""The laws of commands to the pipeline: each acts from the bin that it is answered with, and a log repeats it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexwire.decoders import Bundle, Overlay, load_overlay
from cortexwire.decoders.overlay import write_overlay
from cortexwire.errors import BundleError
from cortexwire.pipeline.commands import (
    ApplyOverlay,
    Arm,
    Command,
    Disarm,
    Mark,
    Mask,
    Neutral,
    Recalibrate,
    RollbackOverlay,
    SetGain,
    SetOffset,
    SetThresholds,
)
from cortexwire.wire import OutFlag, OutKind, Output, PacketEncoder
from tests.pipeline.streams import (
    BIN,
    MS,
    Feed,
    N,
    Sender,
    bundle_for,
    event_bundle,
    events,
    frames_of,
    velocity,
    wideband,
    with_settings,
)


@pytest.fixture(scope="module")
def wide(folder: Path) -> Bundle:
    """Three bins of history, for nine channels of wideband."""
    return bundle_for(folder, wideband(), "wideband")


@pytest.fixture(scope="module")
def overlay(folder: Path, bundle: Bundle) -> ApplyOverlay:
    """Twice the bias."""
    path = folder / "day.overlay"
    made = write_overlay(path, bundle, {"bias": 2 * bundle.parameters["bias"]})
    return ApplyOverlay(str(path), f"{made.hash:016x}")


def loader(bundle: Bundle) -> Callable[[ApplyOverlay], Overlay]:
    return lambda command: load_overlay(command.path, bundle)


def split(outputs: list[Output], index: int) -> tuple[list[Output], list[Output]]:
    """Decoded outputs before a bin, and from it on."""
    decoded = [o for o in outputs if o.kind is OutKind.DECODED]
    return [o for o in decoded if o.bin < index], [o for o in decoded if o.bin >= index]


def fed(bundle: Bundle, frames: list[bytes], at: int, *commands: Command, **options: Any) -> tuple[Feed, list[int]]:
    """Feed `at` packets, the commands, then the other packets."""
    feed = Feed(bundle, **options)
    feed.packets(frames[:at])
    acting = [feed.obey(command) for command in commands]
    feed.packets(frames[at:])
    return feed, acting


def test_gain_and_offset_act_on_the_open_bin(bundle: Bundle) -> None:
    frames = frames_of(events(), seconds=0.5, packet_samples=60)
    plain = Feed(bundle)
    plain.packets(frames)
    for command, change in (
        (SetGain(2.0), lambda v: 2 * v),
        (SetGain(((0.0, 1.0), (-1.0, 0.0))), lambda v: np.array([v[1], -v[0]])),
        (SetOffset((1.0, -2.0)), lambda v: v + np.array([1, -2])),
    ):
        feed, (index,) = fed(bundle, frames, 126, command)
        assert index == feed.decoded[index].bin
        before, after = split(feed.outputs, index)
        assert 0 < len(before) < 25
        plain_before, plain_after = split(plain.outputs, index)
        assert [velocity(o) for o in before] == [velocity(o) for o in plain_before]
        for mine, theirs in zip(after, plain_after, strict=True):
            np.testing.assert_allclose(velocity(mine), change(np.array(velocity(theirs))), rtol=1e-5)


def test_disarming_and_arming_act_on_the_open_bin(bundle: Bundle) -> None:
    feed = Feed(bundle)
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(3)])
    assert feed.obey(Disarm()) == 3
    feed.packets(sender.bins(2))
    assert feed.obey(Arm()) == 5
    feed.packets(sender.bins(2))
    assert [key[2] for key in feed.commands] == [0, 1, 2, 5, 6]


def test_an_overlay_acts_on_the_open_bin_is_named_and_can_be_rolled_back(bundle: Bundle, overlay: ApplyOverlay) -> None:
    frames = frames_of(events(), seconds=0.5, packet_samples=600)
    plain = Feed(bundle)
    plain.packets(frames)
    feed = Feed(bundle, load_overlay=loader(bundle))
    at = len(frames) // 2
    feed.packets(frames[:at])
    index = feed.obey(overlay)
    feed.packets(frames[at : at + 5])
    back = feed.obey(RollbackOverlay())
    feed.packets(frames[at + 5 :])
    bias = bundle.parameters["bias"]
    hashes = [f"{o.overlay_hash:016x}" for o in feed.decoded]
    assert hashes == [overlay.hash if index <= o.bin < back else "0" * 16 for o in feed.decoded]
    for mine, theirs in zip(feed.decoded, plain.decoded, strict=True):
        more = bias if index <= mine.bin < back else 0
        np.testing.assert_allclose(velocity(mine), np.array(velocity(theirs)) + more, rtol=1e-4, atol=1e-4)


def test_an_overlay_that_does_not_fit_changes_nothing(bundle: Bundle, overlay: ApplyOverlay, tmp_path: Path) -> None:
    feed = Feed(bundle, load_overlay=loader(bundle))
    assert "nothing" not in str(feed.command(ApplyOverlay(str(tmp_path / "none"), "0" * 16))[1])
    assert "expected an overlay applied before" in str(feed.command(RollbackOverlay())[1])
    assert "a pipeline that can load overlays" in str(Feed(bundle).command(overlay)[1])
    sender = Sender()
    feed.packets(sender.bins(1))
    assert feed.decoded[0].overlay_hash == 0


def test_a_mask_acts_from_the_next_edge_on(bundle: Bundle) -> None:
    feed = Feed(bundle)
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(2), sender.span(100)])
    assert feed.obey(Mask((1, 3))) == 3
    feed.packets([sender.span(500), *sender.bins(2)])
    assert feed.obey(Mask((1, 3), masked=False)) == 6
    feed.packets(sender.bins(2))
    assert [OutFlag.CHANNELS in o.flags for o in feed.decoded] == [False] * 3 + [True] * 3 + [False]
    assert "expected channels 0 to 3, got 9" in str(feed.command(Mask((9,)))[1])


def test_a_mask_that_leaves_too_few_for_the_reference_is_turned_down(wide: Bundle) -> None:
    feed = Feed(wide)
    assert feed.obey(Mask((0,))) == 0
    assert "at least 8 live channels, got 7" in str(feed.command(Mask((1,)))[1])
    feed.packets(frames_of(wideband(), seconds=0.1))
    assert all(OutFlag.CHANNELS in o.flags for o in feed.decoded)


def test_thresholds_act_from_the_next_edge_on(wide: Bundle) -> None:
    frames = frames_of(wideband(), seconds=0.6, packet_samples=60)
    plain, raised = Feed(wide), Feed(wide, thresholds_uv=(-30.0,) * 9)
    for feed in (plain, raised):
        feed.packets(frames)
    feed, (index,) = fed(wide, frames, 150, SetThresholds((-30.0,) * 9))
    before, after = split(feed.outputs, index)
    assert [o.tensors["counts"].tolist() for o in before] == [
        o.tensors["counts"].tolist() for o in split(plain.outputs, index)[0]
    ]
    assert [o.tensors["counts"].tolist() for o in after[1:]] == [
        o.tensors["counts"].tolist() for o in split(raised.outputs, index + 1)[1]
    ]
    many, few = (sum(int(o.tensors["counts"].sum()) for o in made.decoded) for made in (raised, plain))
    assert many > few
    assert "expected 9 values" in str(feed.command(SetThresholds((-1.0,)))[1])
    assert "expected negative values" in str(feed.command(SetThresholds((1.0,) * 9))[1])


def test_a_recalibration_is_safe_from_the_next_edge_on_and_the_decoder_begins_anew_behind_it(wide: Bundle) -> None:
    feed = Feed(wide)
    frames = frames_of(wideband(), seconds=1.2, packet_samples=60)
    feed.packets(frames[:200])
    index = feed.obey(Recalibrate(0.2))
    feed.packets(frames[200:])
    safe = [o.bin for o in feed.safe if OutFlag.CALIBRATING in o.flags]
    assert safe == list(range(index, index + 10))
    behind = split(feed.outputs, index + 10)[1]
    assert [OutFlag.WARMING in o.flags for o in behind[:3]] == [True, True, False]
    assert len(feed.commands) == len(set(feed.commands)) == 60
    assert feed.pipeline.counters.resets == 1


def test_what_a_stream_does_not_have_cannot_be_changed(bundle: Bundle) -> None:
    feed = Feed(bundle)
    assert "expected a wideband stream, got events" in str(feed.command(SetThresholds((-1.0,) * N))[1])
    assert "expected a wideband stream, got events" in str(feed.command(Recalibrate(1.0))[1])


def test_what_waited_for_an_edge_is_done_when_the_rig_restarts(bundle: Bundle) -> None:
    feed = Feed(bundle)
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(2), sender.span(100)])
    feed.obey(Mask((1,)))
    feed.packets(Sender(epoch=2).bins(1))
    assert OutFlag.CHANNELS in feed.decoded[-1].flags


def test_a_mark_is_noted_with_its_bin(bundle: Bundle) -> None:
    feed = Feed(bundle)
    feed.packets(Sender().bins(3))
    assert feed.obey(Mark(300, 1.5)) == 3
    assert "mark 300 at bin 3: 1.5" in feed.pipeline.drain_notes()


def test_commands_between_the_same_bins_act_alike_whatever_the_packet_size(wide: Bundle) -> None:
    rig = wideband()
    script: dict[int, Command] = {
        5: SetGain(1.5),
        9: Mask((4,)),
        13: SetThresholds((-35.0,) * 9),
        17: Neutral(True),
        19: Neutral(False),
        22: Recalibrate(0.2),
        36: SetOffset((3.0, 0.0)),
        40: Disarm(),
        43: Arm(),
    }
    runs = []
    for size in (30, 77, 600):
        feed = Feed(wide)
        frames = frames_of(rig, seconds=1.0, packet_samples=size) if size != 77 else _cut_at_bins(77)
        pending = dict(script)
        for frame in frames:
            if (command := pending.pop(feed.pipeline.bins.next_bin, None)) is not None:
                feed.obey(command)
            feed.packets([frame])
        assert not pending
        runs.append(feed)
    assert runs[0].frames == runs[1].frames == runs[2].frames
    assert len(runs[0].commands) == len(set(runs[0].commands)) == 47


def _cut_at_bins(size: int) -> list[bytes]:
    """Packets of `size` samples, cut at each bin's edge, so that a command can come at each."""
    rig = wideband()
    encoder = PacketEncoder(rig.rate, rig.n_channels, rig.descriptor, rig.descriptor.uv_per_bit, epoch=1)
    starts = [start for first in range(0, 30_000, BIN) for start in range(first, first + BIN, size)]
    stops = [*starts[1:], 30_000]
    described = encoder.descriptor_packet(0)
    return [described, *(rig.encode(encoder, 0, start, stop) for start, stop in zip(starts, stops, strict=True))]


COMMANDS = (
    SetGain(0.5),
    SetGain(1.0),
    SetOffset((1.0, 1.0)),
    Mask((2,)),
    Mask((2,), masked=False),
    Neutral(True),
    Neutral(False),
    Disarm(),
    Arm(),
    RollbackOverlay(),
    Mark(256),
)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 10)), max_size=40), st.integers(0, 9))
def test_a_log_of_packets_ticks_and_commands_reproduces_every_byte(
    bundle: Bundle, overlay: ApplyOverlay, actions: list[tuple[int, int]], seed: int
) -> None:
    settings = with_settings(deadline={"deadline_ms": 20})
    clock = iter(range(10**9, 2 * 10**9, 1000))
    live = Feed(bundle, settings, load_overlay=loader(bundle), now_ns=lambda: next(clock))
    rng = np.random.default_rng(seed)
    sender, now = Sender(), 1_000 * MS
    live.packets([sender.describe()], now)
    for action, what in actions:
        now += int(rng.integers(0, 40)) * MS
        match action:
            case 0 | 1 | 2:
                counts = rng.integers(0, 5, N).tolist()
                live.packets([sender.span(int(rng.integers(1, 1500)), counts)], now)
            case 3:
                live.tick(now)
            case 4:
                live.command(COMMANDS[what])
            case 5:
                live.command(overlay)
            case 6:
                sender.skip(int(rng.integers(1, 20_000)))
            case _:
                sender = Sender(int(rng.integers(1, 3)))
    again = Feed(bundle, settings, load_overlay=loader(bundle)).replay(live.log)
    assert again.frames == live.frames
    assert again.pipeline.counters == live.pipeline.counters


def test_an_overlay_of_another_bundle_is_refused(folder: Path, overlay: ApplyOverlay) -> None:
    other = event_bundle(folder / "other", history=2)
    feed = Feed(other, load_overlay=loader(other))
    assert "expected an overlay of bundle" in str(feed.command(overlay)[1])
    with pytest.raises(BundleError, match="expected an overlay of bundle"):
        load_overlay(overlay.path, other)
