"""A stall in real time: for two seconds nothing comes, while somebody steers by what the engine commands.

Two kinds of stall: the *backlog*, in which all that was held up bursts in at once, and the *skip*, in which the rig
goes on two seconds later in sample index. During each a subscriber looks a thousand times a second at the velocity that
it has to apply, and integrates it.

What it may come to follows from the settings. Let `v` be the last good command, in force from `t`, of a bin of length
`b`. The next bin's safe output is due at the latest at `t + b + D`, where `D` is the deadline, and each further one
after another `b`. Their values are `v f(kb)`, with `f(a)` 1 up to `hold`, then falling linearly to 0 within `decay`.
`f` does not rise, so the sum over `k >= 1` of `b f(kb)` is at most the integral of `f`, `hold + decay / 2`. Hence

    displacement <= |v| (b + D + hold + decay / 2).

A message that is late leaves the one before it in force for longer, and a subscriber that looks late sees a change
late: both are measured and allowed for at full speed.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import zmq
from numpy.typing import NDArray

from cortexwire.bench.faults.live import LiveEngine
from cortexwire.bench.faults.rig import FaultyRig, Stream
from cortexwire.clients import Subscriber
from cortexwire.pipeline.settings import PipelineSettings
from cortexwire.wire import OutFlag, OutKind, Output, decode_output, stamp_sent

STALL_S: Final = 2.0
LEAD_S: Final = 0.7
LOOK_NS: Final = 1_000_000
_MS: Final = 1_000_000
_S: Final = 1_000_000_000


@dataclass(frozen=True)
class Stall:
    """One stall, in nanoseconds of the host's monotonic clock.

    Attributes:
        kind: `backlog` or `skip`.
        begun_ns: When the last packet before it was due.
        over_ns: When the first packet after it was sent.
    """

    kind: str
    begun_ns: int
    over_ns: int


@dataclass(frozen=True)
class StallRun:
    """What happened in one stream with its two stalls.

    Attributes:
        stream: What was sent.
        origin_ns: When sample 0 was due.
        stalls: The stalls.
        looks: What a subscriber saw, `(n, 3)` float64: nanoseconds after `origin_ns`, and the velocity to apply.
        outputs: Everything that the engine published.
    """

    stream: Stream
    origin_ns: int
    stalls: tuple[Stall, ...]
    looks: NDArray[np.float64]
    outputs: tuple[Output, ...]


def stalling_stream(rig: FaultyRig, epoch: int, seed: int) -> tuple[Stream, tuple[int, int]]:
    """A stream that skips a stall's samples; and the samples during which its packets are held up.

    Where in a bin a stall begins is drawn.
    """
    rng = np.random.default_rng(seed)
    rate_hz = rig.rate.hz
    jitter = rng.integers(0, 30, 2) / 1000
    stall = round(STALL_S * rate_hz)
    held = round((LEAD_S + jitter[0]) * rate_hz)
    skipped = held + stall + round((LEAD_S + jitter[1]) * rate_hz)
    seconds = (skipped + stall) / rate_hz + LEAD_S
    stream = rig.stream(epoch, seconds, skips=[(skipped, skipped + stall)], end=True)
    return stream, (held, held + stall)


def run_stalls(engine: LiveEngine, rig: FaultyRig, epoch: int, seed: int) -> StallRun:
    """Send one stream with its two stalls in real time, and steer by what comes out.

    Raises:
        RunError: The engine fell or fell silent.
    """
    stream, held = stalling_stream(rig, epoch, seed)
    sender = _Sender(engine.push, stream, held)
    looks: list[tuple[float, float, float]] = []
    with Subscriber(engine.endpoint) as subscriber:
        time.sleep(0.1)
        sender.start()
        try:
            while sender.is_alive():
                now = time.monotonic_ns()
                x, y = subscriber.velocity().tolist()
                looks.append((time.monotonic_ns() - sender.origin_ns, x, y))
                time.sleep(max(0, LOOK_NS - (time.monotonic_ns() - now)) / _S)
        finally:
            sender.join()
    outputs = tuple(decode_output(frame) for frame in engine.until_end(epoch))
    return StallRun(stream, sender.origin_ns, tuple(sender.stalls), np.array(looks), outputs)


class _Sender(threading.Thread):
    """Sends each packet when its last sample is due, except while it is held up."""

    def __init__(self, push: zmq.Socket[bytes], stream: Stream, held: tuple[int, int]) -> None:
        super().__init__(name="rig of the stall")
        self.origin_ns = time.monotonic_ns() + 100 * _MS
        self.stalls: list[Stall] = []
        self._push, self._stream, self._held = push, stream, held

    def run(self) -> None:
        """Send the stream."""
        before = 0
        first, last = self._held
        for sent in self._stream.packets:
            kind = "backlog" if before <= first < sent.stop else "skip" if sent.start > before else ""
            self._sleep_until(self._due_ns(last if first < sent.stop <= last else sent.stop))
            if kind and sent.signal:
                self.stalls.append(Stall(kind, self._due_ns(before), time.monotonic_ns()))
            self._push.send(stamp_sent(sent.frame, time.monotonic_ns()))
            if sent.signal:
                before = sent.stop

    def _due_ns(self, sample: int) -> int:
        rate = self._stream.rate
        return self.origin_ns + sample * _S * rate.den // rate.num

    def _sleep_until(self, due_ns: int) -> None:
        while (left := due_ns - time.monotonic_ns()) > 0:
            time.sleep(left / _S)


def judge_stalls(run: StallRun, settings: PipelineSettings, bin_ms: float) -> list[dict[str, Any]]:
    """What each stall came to, what it may have come to, and what is wrong with it, in words."""
    return [_judge(run, stall, settings, bin_ms) for stall in run.stalls]


def _judge(run: StallRun, stall: Stall, settings: PipelineSettings, bin_ms: float) -> dict[str, Any]:
    deadline_ms, safety = settings.deadline.deadline_ms, settings.safety
    assert deadline_ms is not None
    commands = [output for output in run.outputs if OutFlag.COMMAND in output.flags]
    good = [
        output
        for output in commands
        if output.kind is OutKind.DECODED and output.times.published_ns <= stall.begun_ns + (deadline_ms + bin_ms) * _MS
    ][-1]
    start_ns = good.times.published_ns
    held = [output for output in commands if start_ns < output.times.published_ns < stall.over_ns]
    velocity = good.tensors["velocity"].astype(np.float64)
    speed = float(np.hypot(*velocity))
    due_ms = [(output.bin - good.bin) * bin_ms + deadline_ms for output in held]
    late_ms = [(output.times.published_ns - start_ns) / _MS - due for output, due in zip(held, due_ms, strict=True)]
    path_mm, neutral_after_ms, look_ms = _integrate(run, start_ns, stall.over_ns)
    bound_ms = bin_ms + deadline_ms + safety.hold_ms + safety.decay_ms / 2
    jitter_ms = max(0.0, *late_ms) + look_ms if late_ms else look_ms
    problems = [
        *_values(held, good, velocity, settings, bin_ms),
        *_freshness(run, stall, deadline_ms + bin_ms),
    ]
    allowed_mm = speed * (bound_ms + jitter_ms) / 1000
    if path_mm > allowed_mm * (1 + 1e-6):
        problems.append(f"expected at most {allowed_mm:.3f} mm, got {path_mm:.3f} mm")
    if path_mm < 0.9 * speed * safety.hold_ms / 1000:
        problems.append(f"expected a hold of {safety.hold_ms} ms, got {path_mm:.3f} mm at {speed:.1f} mm/s")
    return {
        "kind": stall.kind,
        "stall_ms": round((stall.over_ns - stall.begun_ns) / _MS, 1),
        "speed_mm_s": round(speed, 3),
        "displacement_mm": round(path_mm, 4),
        "bound_mm": round(speed * bound_ms / 1000, 4),
        "bound_ms_at_full_speed": bound_ms,
        "jitter_ms": round(jitter_ms, 2),
        "of_bound": round(path_mm / (speed * bound_ms / 1000), 4),
        "neutral_after_ms": round(neutral_after_ms, 1),
        "safe_commands": len(held),
        "late_bins": sum(
            OutFlag.LATE in output.flags
            for output in run.outputs
            if 0 < output.times.published_ns - stall.over_ns < _S // 2 and output.kind is OutKind.DECODED
        ),
        "problems": problems,
    }


def _integrate(run: StallRun, start_ns: int, stop_ns: int) -> tuple[float, float, float]:
    """Path in mm of what a subscriber applied, when it came to rest, and the longest time between looks until then."""
    at = run.looks[:, 0] + run.origin_ns
    inside = (at >= start_ns) & (at < stop_ns)
    when, speeds = at[inside], np.hypot(run.looks[inside, 1], run.looks[inside, 2])
    spans = np.diff(np.append(when, stop_ns))
    rest = min(int(np.flatnonzero(np.append(True, speeds))[-1]), len(when) - 1)
    longest_ns = np.diff(when[: rest + 1]).max(initial=0)
    return float(speeds @ spans) / _S, float(when[rest] - start_ns) / _MS, float(longest_ns) / _MS


def _values(
    held: Sequence[Output], good: Output, velocity: NDArray[np.float64], settings: PipelineSettings, bin_ms: float
) -> list[str]:
    """Each safe command is the good one times hold and decay, and the last is neutral."""
    problems = []
    safety = settings.safety
    for output in held:
        age_ms = (output.bin - good.bin) * bin_ms
        share = 1.0 if age_ms <= safety.hold_ms else max(0.0, 1 - (age_ms - safety.hold_ms) / safety.decay_ms)
        if output.kind is not OutKind.SAFE or not np.allclose(output.tensors["velocity"], share * velocity, rtol=1e-5):
            came = output.tensors["velocity"].tolist()
            problems.append(
                f"bin {output.bin}: expected a safe command of {share:.2f} of the last good one, got {came}"
            )
    if not held or OutFlag.NEUTRAL not in held[-1].flags:
        problems.append("expected the last command of the stall to be neutral")
    return problems


def _freshness(run: StallRun, stall: Stall, most_ms: float) -> list[str]:
    """No decoded command is older than deadline and bin, whatever bursts in; and there is at most one a bin."""
    problems = []
    rate = run.stream.rate
    seen = set()
    for output in run.outputs:
        if OutFlag.COMMAND not in output.flags:
            continue
        if output.bin in seen:
            problems.append(f"bin {output.bin}: expected at most one command")
        seen.add(output.bin)
        if output.kind is OutKind.DECODED and output.times.published_ns > stall.over_ns:
            ended_ns = run.origin_ns + output.end_sample * _S * rate.den // rate.num
            age_ms = (output.times.received_ns - ended_ns) / _MS
            if age_ms > most_ms:
                problems.append(f"bin {output.bin}: expected a command at most {most_ms} ms old, got {age_ms:.1f} ms")
    return problems
