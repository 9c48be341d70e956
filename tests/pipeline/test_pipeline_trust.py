"""What must not move a cursor, nor stop a stream: each of these once did."""

from dataclasses import replace
from math import hypot
from pathlib import Path

import msgspec
import pytest

from cortexwire.decoders import Bundle
from cortexwire.errors import BundleError, ConfigError
from cortexwire.pipeline.commands import Arm, Command, Disarm, Mask, Neutral, Recalibrate
from cortexwire.pipeline.intake import MAX_EARLY, Intake
from cortexwire.pipeline.items import Aux, Item, Restart, Span
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.pipeline.settings import IntakeSettings, PipelineSettings
from cortexwire.signal.binning import MASKED
from cortexwire.wire import OutFlag, OutKind, Output, PacketEncoder, decode_packet
from tests.pipeline.streams import (
    BIN,
    MS,
    RATE,
    Feed,
    N,
    Sender,
    Spy,
    bundle_for,
    event_bundle,
    frames_of,
    velocity,
    wideband,
    with_settings,
)


def speed(output: Output) -> float:
    return hypot(*velocity(output))


def test_of_the_bins_due_after_a_stall_only_the_last_is_a_command(bundle: Bundle) -> None:
    feed = Feed(bundle, PipelineSettings())
    sender = Sender()
    feed.packets([sender.describe()], 0)
    for k in range(10):
        feed.packets(sender.bins(), (k + 1) * 20 * MS)
    assert speed(feed.outputs[-1]) > 0
    came = feed.tick(600 * MS)
    assert [o.bin for o in came] == list(range(10, 29))
    assert [o.bin for o in came if OutFlag.COMMAND in o.flags] == [28]
    assert velocity(came[-1]) == [0, 0]
    assert max(map(speed, came)) > 0


def test_two_masks_before_an_edge_are_both_carried_out(bundle: Bundle) -> None:
    feed = Feed(bundle)
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(4)])
    for command in (Mask((0,), True), Mask((1, 2), True), Mask((2,), False)):
        feed.obey(command)
    feed.packets(sender.bins(2))
    assert feed.pipeline.channel_report().status.tolist() == [MASKED, MASKED, 0, 0]


def test_a_mask_of_a_channel_that_does_not_exist_is_a_fault_of_the_settings(folder: Path) -> None:
    made = event_bundle(folder / "masked")
    for channel in (N, -1):
        with pytest.raises(ConfigError, match="masked"):
            Feed(made, front_end={"masked": [channel]})


def test_absolute_thresholds_are_not_calibrated(folder: Path) -> None:
    rig = wideband()
    made = bundle_for(folder, rig, "wideband")
    feed = Feed(made, front_end={"threshold": {"mode": "absolute", "absolute_uv": -45.0, "values_uv": None}})
    frames = frames_of(rig, seconds=1.0)
    feed.packets(frames[:200])
    _, problem = feed.command(Recalibrate(0.2))
    assert problem is not None
    assert "absolute" in problem
    feed.packets(frames[200:])
    assert feed.pipeline.state == "running"


def test_outputs_that_no_message_can_carry_are_refused_at_the_start(folder: Path) -> None:
    made = event_bundle(folder / "outputs")
    outputs = made.manifest.outputs
    served = msgspec.structs.replace(outputs[0], name="vel")
    for change in ({"name": "velocity"}, {"name": "counts"}, {"name": "n" * 30}, {"dtype": "int32"}):
        more = msgspec.structs.replace(outputs[0], **({"name": "more", "role": "position"} | change))
        manifest = msgspec.structs.replace(made.manifest, outputs=(served, more, *outputs[1:]))
        spy = Spy(made)
        setattr(spy, "bundle", replace(made, manifest=manifest))  # noqa: B010 - final for everybody else
        with pytest.raises(BundleError, match="expected outputs"):
            Pipeline(PipelineSettings(), spy)


def test_behind_what_is_no_number_the_decoder_begins_anew(bundle: Bundle) -> None:
    spy = Spy(bundle, lambda k: k == 5)
    feed = Feed(bundle, decoder=spy)
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(10)])
    fresh = Feed(bundle)
    other = Sender()
    fresh.packets([other.describe(), *other.bins(4)])
    assert [OutFlag.WARMING in o.flags for o in feed.decoded] == [True] * 2 + [False] * 4 + [True] * 2 + [False] * 2
    assert [velocity(o) for o in feed.decoded[6:]] == [velocity(o) for o in fresh.decoded]
    assert OutFlag.HISTORY in feed.decoded[6].flags


@pytest.mark.parametrize("stop", [(Neutral(True), Neutral(False)), (Disarm(), Arm())])
def test_behind_a_stop_the_limit_of_acceleration_counts_from_rest(
    bundle: Bundle, stop: tuple[Command, Command]
) -> None:
    feed = Feed(bundle, with_settings(output={"max_acceleration": 100.0}))
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(40, (9, 9, 9, 9))])
    assert speed(feed.outputs[-1]) > 4
    feed.obey(stop[0])
    feed.packets(sender.bins(3, (9, 9, 9, 9)))
    feed.obey(stop[1])
    (first, *_) = [o for o in feed.packets(sender.bins(1, (9, 9, 9, 9))) if OutFlag.COMMAND in o.flags]
    assert first.kind is OutKind.DECODED
    assert speed(first) <= 2 + 1e-4


def test_a_stray_descriptor_of_another_epoch_ends_nothing(bundle: Bundle) -> None:
    feed = Feed(bundle)
    sender, stray = Sender(epoch=1), PacketEncoder(RATE, 64, epoch=2)
    feed.packets([sender.describe(), *sender.bins(3), stray.end(0), *sender.bins(3)])
    assert [o.bin for o in feed.decoded] == list(range(6))
    assert feed.nonzero().get("old_epoch", 0) == 0


def test_what_comes_before_the_signal_of_an_epoch_is_used_with_it() -> None:
    old, new = Sender(epoch=1), Sender(epoch=2)
    intake = Intake(IntakeSettings())
    items: list[Item] = []
    for frame in (old.describe(), *old.bins(2), new.describe(), *old.bins(1), *new.bins(1)):
        items += intake.accept(decode_packet(frame))
    assert [type(item) for item in items] == [Restart, Aux, Span, Span, Span, Restart, Aux, Span]
    assert intake.counters.accepted == 6
    assert intake.counters.lost_packets == 0
    for k in range(MAX_EARLY + 3):
        intake.accept(decode_packet(PacketEncoder(RATE, N, epoch=100 + k).end(0)))
    assert intake.counters.old_epoch == 3
    intake.accept(decode_packet(Sender(epoch=3).bins(1)[0]))
    assert intake.counters.old_epoch == MAX_EARLY + 3


def test_a_calibration_begins_again_with_the_stream(folder: Path) -> None:
    rig = wideband()
    made = bundle_for(folder, rig, "wideband")
    feed = Feed(made, front_end={"threshold": {"values_uv": None, "calibration_s": 1.0}})
    feed.packets(frames_of(rig, epoch=1, seconds=0.9))
    feed.packets(frames_of(rig, epoch=2, seconds=0.5))
    assert feed.pipeline.state == "calibrating"
    feed.packets(frames_of(rig, epoch=3, seconds=1.5))
    assert feed.pipeline.state == "running"


def test_commands_that_expire_too_soon_are_said_at_the_start(folder: Path) -> None:
    made = event_bundle(folder / "expires")
    feed = Feed(made, with_settings(safety={"valid_for_ms": 15.0}))
    assert "commands expire before the next one comes" in feed.pipeline.drain_notes()[0]


def test_an_end_behind_a_lost_packet_is_heard_once_a_bin_is_overdue(bundle: Bundle) -> None:
    settings = PipelineSettings.model_validate({"intake": {"reorder_window_packets": 8}})
    feed = Feed(bundle, settings)
    sender = Sender()
    feed.packets([sender.describe(), *sender.bins(3)], 60 * MS)
    sender.lose(1, BIN)
    feed.packets([sender.encoder.end(sender.at)], 80 * MS)
    assert feed.pipeline.state == "running"
    feed.tick(200 * MS)
    assert feed.pipeline.state == "ended"
    assert OutFlag.ENDED in feed.outputs[-1].flags or OutFlag.ENDED in feed.outputs[-2].flags


def test_outputs_name_their_source(bundle: Bundle) -> None:
    feed = Feed(bundle)
    sender = Sender(source=7)
    feed.packets([sender.describe(), *sender.bins(2)])
    assert {o.source for o in feed.outputs} == {7}
