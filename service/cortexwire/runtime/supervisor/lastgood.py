"""With what an engine is started again: the settings by which it goes on as the one that died.

Thresholds, masks, and which bundle and overlay are in command come from the telemetry map, which outlives the engine
that wrote it; where these lie, gain, offset, the neutral stop and whether it was armed from its standing orders; the
endpoints from what it said when it was ready. The map has thresholds as float32, which is what the kernels compare
with, so the restarted engine's are the very same. Bundles and overlays are copied, since what lies at their paths may
change.

What is found is kept in the run directory too, for a supervisor that was itself killed; an orderly end takes it away.
"""

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import structlog

from cortexwire.errors import BundleError
from cortexwire.runtime.orders import Orders, read_orders
from cortexwire.runtime.recorder.keeping import copy_bundle, copy_overlay
from cortexwire.runtime.rundir import RunDir
from cortexwire.runtime.telemetry import TelemetrySnapshot
from cortexwire.signal.binning import MASKED


class LastGood:
    """What one run directory's engines leave behind, as settings by path.

    Args:
        run_dir: The run directory.
        rearm: Whether an engine that was armed is armed again.
        resume: Whether to begin with what a supervisor that was killed has left.

    Attributes:
        settings: Values by dotted path, laid over the engine's own configuration.
        resumed: Whether a supervisor that was killed has left some.
    """

    def __init__(self, run_dir: RunDir, rearm: bool, resume: bool = False) -> None:
        self._run_dir = run_dir
        self._rearm = rearm
        self._thresholds: list[float | None] | None = None
        self._orders: Orders | None = None
        self._places: dict[str, str] = {}
        self._seen: set[tuple[str, str]] = set()
        self._log = structlog.get_logger("cortexwire.supervisor")
        # Whatever else is not known: what died does not come back armed by itself.
        self.settings: dict[str, Any] = {"armed": False}
        self.resumed = False
        if resume:
            with suppress(OSError, msgspec.MsgspecError):
                self.settings = msgspec.json.decode(run_dir.last_good.read_bytes(), type=dict[str, Any])
                self.resumed = True

    def ready(self, endpoints: Mapping[str, Any]) -> None:
        """An engine says where it is: the next one has to be there too, even if the port was left open."""
        for name in ("ingest", "output"):
            if isinstance(where := endpoints.get(name), str):
                self.settings[f"{name}.endpoint"] = where
        self._keep()

    def look(self, snapshot: TelemetrySnapshot | None) -> None:
        """Take what the engine says of itself, and what it was ordered to do; a torn map says nothing new."""
        before = dict(self.settings)
        self._take_orders()
        if snapshot is not None and not snapshot.torn:
            self._take_thresholds(snapshot)
            self._take_models(snapshot)
            # Before the first bin the map has no flags yet.
            if snapshot.status.bin >= 0:
                self._take_masks(snapshot)
        if self.settings != before:
            self._keep()

    def _take_thresholds(self, snapshot: TelemetrySnapshot) -> None:
        found = snapshot.status.threshold_uv
        finite = np.isfinite(found)
        # None at all means that they are being measured: those before are the last good ones.
        if not finite.any():
            return
        thresholds = [value if ok else None for value, ok in zip(found.tolist(), finite, strict=True)]
        if thresholds != self._thresholds:
            self._thresholds = thresholds
            if self._write(self._run_dir.thresholds, {"thresholds_uv": thresholds}):
                self.settings["thresholds"] = str(self._run_dir.thresholds)

    def _take_masks(self, snapshot: TelemetrySnapshot) -> None:
        masked = set(np.flatnonzero(snapshot.status.status & MASKED).tolist())
        ordered = {} if self._orders is None else self._orders.masks
        masked |= {channel for channel, on in ordered.items() if on}
        masked -= {channel for channel, on in ordered.items() if not on}
        self.settings["front_end.masked"] = sorted(masked)

    def _take_orders(self) -> None:
        orders = read_orders(self._run_dir.orders)
        if orders is None or orders == self._orders:
            return
        self._orders = orders
        self.settings |= {
            "armed": self._rearm and orders.armed and not orders.neutral,
            "pipeline.safety.neutral": orders.neutral,
            "pipeline.output.gain": orders.gain,
            "pipeline.output.offset": orders.offset,
        }
        # At once, whoever takes over: what is named is what lies there now.
        for number, bundle in orders.bundles.items():
            kept = self._run_dir.bundles / number
            self._place(number, bundle.path, kept, partial(copy_bundle, Path(bundle.path), bundle.sha256, kept))
        for number, path in orders.overlays.items():
            folder = self._run_dir.overlays
            self._place(number, path, folder / number, partial(copy_overlay, Path(path), folder, short=number))

    def _place(self, number: str, path: str, kept: Path, copy: Callable[[], None]) -> None:
        """Keep what lies at a path as it is now; it may be another one by the time that it is needed."""
        if (number, path) in self._seen:
            return
        self._seen.add((number, path))
        try:
            copy()
        except (BundleError, OSError) as error:
            self._log.warning("not kept for a start again", what=path, why=str(error))
            self._places.setdefault(number, path)
        else:
            self._places[number] = str(kept)

    def _take_models(self, snapshot: TelemetrySnapshot) -> None:
        """Take bundle and overlay in command, both or none: an overlay fits one bundle only."""
        bundle = self._places.get(f"{snapshot.status.bundle_hash:016x}")
        overlay = self._places.get(f"{snapshot.status.overlay_hash:016x}")
        if bundle is not None and (overlay is not None or not snapshot.status.overlay_hash):
            self.settings |= {"bundle": bundle, "overlay": overlay}

    def assignments(self) -> list[str]:
        """The settings as `path=value` each."""
        return [
            f"{path}={value if isinstance(value, str) else msgspec.json.encode(value).decode()}"
            for path, value in self.settings.items()
        ]

    def _keep(self) -> None:
        self._write(self._run_dir.last_good, self.settings)

    def _write(self, path: Path, content: Any) -> bool:
        try:
            _put(path, msgspec.json.encode(content))
        except OSError as error:
            self._log.warning("last good settings not kept", file=str(path), why=error.strerror)
            return False
        return True

    def forget(self) -> None:
        """The service ended in good order: what comes next begins anew."""
        self._run_dir.last_good.unlink(missing_ok=True)
        shutil.rmtree(self._run_dir.bundles, ignore_errors=True)


def _put(path: Path, content: bytes) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(content)
    fresh.replace(path)
