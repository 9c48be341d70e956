"""Scenes: what a service would say in a given state, as messages of the live stream drawn from a seed.

The layout of a message is written down here a second time, so that page and service are held to the same words.
"""

import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

BIN_MS: Final = 20
NOTED_NS: Final = 3600 * 10**9
"""How long before a scene begins its engine noted something."""
PARTIAL, STALE = 1, 2
ARMED, COMMAND, HISTORY, DEADLINE, UNOBSERVED, NEUTRAL = 2, 4, 32, 64, 256, 8192
DEAD, RAILING, MASKED, DISABLED = 2, 4, 1, 8
COLUMNS: Final = ("intended_vx", "intended_vy", "intended_px", "intended_py")
LINES: Final = {
    "received_to_binned p50 <= 200 us": "within",
    "received_to_binned p99 <= 1000 us": "within",
    "binned_to_decoded p99 <= 1500 us": "within",
    "decoded_to_published p99 <= 500 us": "within",
    "sent_to_published p99 <= 2500 us": "within",
}
RECORDING: Final[dict[str, Any]] = {
    "state": "recording",
    "folder": "recordings/2031-03-14-block-2",
    "segment": 3,
    "durable_bytes": 2_140_000_000,
    "written_bytes": 2_141_200_000,
    "queued_bytes": 480_000,
    "records": 911_204,
    "lost_records": 0,
    "lost_samples": 0,
    "stalls": 0,
    "longest_stall_ns": 0,
    "note": "",
}
CANDIDATE: Final[dict[str, Any]] = {
    "bundle_hash": "7be2c9450d11aa03",
    "path": "bundles/kalman-day-12",
    "phase": "ready",
    "why": None,
    "bins": 4120,
    "divergence": {"rms": 1.84, "max": 9.61},
}


@dataclass(frozen=True)
class Scene:
    """A state of the service.

    Attributes:
        channels: Channels of the array.
        banks: Banks that share them.
        armed: Whether outputs may be commands.
        neutral: Whether the neutral stop is on.
        blocked: Whether arming is blocked until the array is confirmed.
        state: The engine's state.
        writer: Health of the engine's telemetry.
        stale: Whether the service says that data are stale.
        blocked: Whether arming waits for the array to be confirmed.
        insecure: Whether the service lacks the protection that its address needs.
        pid: The engine's process.
        silent: Whether it stops to say anything at all.
        gaps: Whether packets get lost now and then.
        slow: Factor on the latency of every bin.
        budgets: Budget lines with their state.
        columns: Names of what is known of the movement.
        recorder: The recorder's status, or none.
        candidate: The candidate bundle, or none.
        seed: Of what is drawn.
    """

    channels: int = 96
    banks: int = 3
    armed: bool = True
    neutral: bool = False
    blocked: bool = False
    state: str = "running"
    writer: str = "live"
    stale: bool = False
    insecure: bool = False
    pid: int = 4242
    silent: bool = False
    gaps: bool = False
    slow: float = 1.0
    budgets: Mapping[str, str] = field(default_factory=lambda: dict(LINES))
    columns: tuple[str, ...] = COLUMNS
    recorder: Mapping[str, Any] | None = field(default_factory=lambda: dict(RECORDING))
    candidate: Mapping[str, Any] | None = None
    seed: int = 7


BREACHED: Final = LINES | {"binned_to_decoded p99 <= 1500 us": "over", "sent_to_published p99 <= 2500 us": "over"}
SCENES: Final[dict[str, Scene]] = {
    "running": Scene(),
    "disarmed": Scene(armed=False),
    "neutral": Scene(neutral=True),
    "blocked": Scene(armed=False, blocked=True),
    "stale": Scene(state="silent", stale=True),
    "dead": Scene(writer="dead", stale=True),
    "absent": Scene(writer="absent", state="absent", armed=False, stale=True, recorder=None),
    "breached": Scene(slow=6.0, budgets=BREACHED),
    "gaps": Scene(gaps=True),
    "wide": Scene(channels=1024, banks=32),
    "unknown": Scene(columns=()),
    "full": Scene(recorder=RECORDING | {"state": "full", "lost_records": 412, "lost_samples": 61_800}),
    "candidate": Scene(candidate=CANDIDATE),
}
"""Scenes by name."""


class Stage:
    """Plays a scene in real time; the scene may be changed while it plays.

    Args:
        scene: What to play.
        look_back_s: How old bins a viewer's first message may hold; 2 s as of the service, more to fill a picture.
    """

    def __init__(self, scene: Scene, look_back_s: float = 2.0) -> None:
        self.change(scene)
        self._began_ns = time.monotonic_ns()
        self._look_back = round(look_back_s * 1000 / BIN_MS)
        self._first_bin = 183_000
        self._stopped_at: int | None = None
        self.notes: list[dict[str, Any]] = [
            {"t_ns": self._began_ns - NOTED_NS, "text": "thresholds measured over 10.0 s"}
        ]

    def change(self, scene: Scene) -> None:
        """Play another scene from now on."""
        self.scene = scene
        rng = np.random.default_rng(scene.seed)
        n = scene.channels
        self._rates = rng.gamma(2.0, 7.0, n).astype(np.float32)
        self._rms = rng.normal(11, 1.8, n).clip(5).astype(np.float32)
        self._status = np.zeros(n, np.uint8)
        for flag, share in ((DEAD, 0.02), (RAILING, 0.01), (MASKED, 0.02), (DISABLED, 0.005)):
            self._status[rng.choice(n, max(1, round(share * n)), replace=False)] = flag
        self._directions = rng.uniform(0, 2 * np.pi, n).astype(np.float32)

    def note(self, text: str) -> None:
        """Have the engine note something now."""
        self.notes.append({"t_ns": time.monotonic_ns(), "text": text})

    def set(self, **changes: Any) -> None:
        """Change some attributes of the scene."""
        self.change(replace(self.scene, **changes))

    @property
    def bin(self) -> int:
        """The newest bin."""
        if self.scene.stale:
            self._stopped_at = self._stopped_at or time.monotonic_ns()
        else:
            self._stopped_at = None
        return self._first_bin + ((self._stopped_at or time.monotonic_ns()) - self._began_ns) // (BIN_MS * 1_000_000)

    def frame(self, sequence: int, first: int) -> tuple[bytes, int]:
        """A message with the bins from `first` on, and the bin after its last."""
        scene, newest = self.scene, self.bin
        bins = np.arange(max(first, newest - self._look_back + 1), newest + 1)
        if scene.writer == "absent":
            bins = bins[:0]
        head = self._head(sequence, newest)
        if sequence == 0:
            n, banks = scene.channels, scene.banks
            head["electrodes"] = [{"id": f"e{k + 1:03d}", "bank": str(1 + k * banks // n)} for k in range(n)]
        return pack(head, self._arrays(bins)), newest + 1

    def _head(self, sequence: int, newest: int) -> dict[str, Any]:
        scene = self.scene
        engine: dict[str, Any] = {"writer": scene.writer, "state": scene.state, "armed": scene.armed}
        engine |= {"neutral": scene.neutral, "blocked": scene.blocked}
        if scene.writer != "absent":
            engine |= {
                "epoch": "91c4e0d27715be08",
                "bin": newest,
                "rate_hz": 30000.0,
                "n_channels": scene.channels,
                "bundle_hash": "c41d07aa52f9e836",
                "bundle_name": "reference",
                "overlay_hash": "0" * 16,
                "last_note": self.notes[-1]["text"],
                "notes": len(self.notes),
                "pid": scene.pid,
                "bin_ms": BIN_MS,
                "unit": "cm/s",
            }
        tails = {"p50_ns": 0.5, "p90_ns": 0.8, "p99_ns": 1.0, "p999_ns": 1.3, "max_ns": 1.6}
        typical = {
            "received_to_binned": 95e3,
            "binned_to_decoded": 420e3,
            "decoded_to_published": 60e3,
            "sent_to_published": 690e3,
        }
        latency = {
            stage: {key: int(tail * scene.slow * ns) for key, tail in tails.items()} | {"total": newest}
            for stage, ns in typical.items()
        }
        recorder = None if scene.recorder is None else {**scene.recorder, "heartbeat_ns": time.monotonic_ns()}
        return {
            "t_ns": time.monotonic_ns(),
            "realtime_ns": time.time_ns(),
            "seq": sequence,
            "stale": scene.stale,
            "insecure": scene.insecure,
            "engine": engine,
            "budgets": dict(scene.budgets),
            "counters": self._counters(newest),
            "latency": latency,
            "latency_window": latency,
            "recorder": recorder,
            "candidate": scene.candidate,
            "previous": None,
            "columns": list(scene.columns),
        }

    def _counters(self, newest: int) -> dict[str, int]:
        bad = int(_bad(np.arange(newest - 3000, newest + 1)).sum()) if self.scene.gaps else 0
        return {"frames": 20 * newest, "lost_packets": 3 * bad, "gaps": bad, "partial_bins": bad, "late_bins": 0}

    def _arrays(self, bins: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        scene, n, k = self.scene, self.scene.channels, len(bins)
        t = bins * BIN_MS / 1000
        intended = _intended(t)
        rng = np.random.default_rng(int(bins[0]) if k else 0)
        velocity = 0.9 * _intended(t - 0.06) + rng.normal(0, 2.2, (k, 2))
        speed = (
            np.cos(np.arctan2(intended[:, 1:], intended[:, :1]) - self._directions)
            * np.hypot(*intended.T)[:, None]
            / 20
        )
        counts = rng.poisson(self._rates * (1 + 0.8 * speed).clip(0.05) * BIN_MS / 1000).astype(np.uint8)
        counts[:, (self._status & (DEAD | DISABLED)) != 0] = 0
        flags = np.full(k, (ARMED | COMMAND if scene.armed else 0) | (NEUTRAL if scene.neutral else 0), np.int32)
        validity = np.zeros(k, np.uint8)
        if scene.gaps:
            bad, worse = _bad(bins), _bad(bins) & (bins % 7 == 0)
            validity[bad], validity[worse] = PARTIAL, STALE
            flags[bad] |= UNOBSERVED
            flags[worse] = flags[worse] & ~COMMAND | DEADLINE | HISTORY
            counts[worse] = 0
        if scene.neutral:
            velocity[:] = 0
        drift = (1 + 0.2 * np.sin(np.arange(n) + time.monotonic())).astype(np.float32)
        known = np.hstack([intended, 0.3 * intended])[:, : len(scene.columns)]
        return {
            "rate_hz": self._rates * drift * ((self._status & (DEAD | DISABLED)) == 0),
            "rms_uv": self._rms, "threshold_uv": -4.5 * self._rms, "status": self._status,
            "bins": bins.astype(np.int32), "velocity": velocity.astype(np.float32),
            "validity": validity, "flags": flags,
            "latency_us": (scene.slow * rng.lognormal(np.log(560), 0.22, k)).astype(np.float32),
            "counts": counts, "columns": known.astype(np.float32), "column_bins": bins.astype(np.int32),
        }  # fmt: skip


def _intended(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """A movement of 0.9 s reaches with rests between, `(k, 2)` in cm/s."""
    trial, phase = np.divmod(t, 1.4)
    bell = np.where(phase < 0.9, np.sin(np.pi * np.clip(phase / 0.9, 0, 1)) ** 2, 0.0)
    angle = np.modf(trial * 0.381966)[0] * 2 * np.pi
    direction: NDArray[np.float64] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return 22 * bell[:, None] * direction


def _bad(bins: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The bins that a lossy rig spoils: a run of 3 to 9 in every 120."""
    return np.asarray(bins % 120 < 3 + bins // 120 % 7)


def pack(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """One message: the length of the JSON, the JSON, and the arrays, each at a multiple of four."""
    names = {np.dtype(np.float32): "f4", np.dtype(np.uint8): "u1", np.dtype(np.int32): "i4"}
    described = [
        {"name": name, "dtype": names[array.dtype], "shape": array.shape, "offset": 10**8}
        for name, array in arrays.items()
    ]
    # Room for any offset: what a shorter number leaves is filled with spaces.
    room = -(-len(msgspec.json.encode({**head, "arrays": described})) // 4) * 4
    at, parts = 4 + room, []
    for entry, array in zip(described, arrays.values(), strict=True):
        content = array.tobytes()
        entry["offset"] = at
        parts.append(content + bytes(-len(content) % 4))
        at += len(parts[-1])
    text = msgspec.json.encode({**head, "arrays": described}).ljust(room)
    return struct.pack("<I", room) + text + b"".join(parts)
