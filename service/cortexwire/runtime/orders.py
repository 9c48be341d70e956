"""Standing orders: what operators' commands have left in force, in the run directory for whoever starts an engine anew.

Bundles that are swapped while the engine runs are known by the names of their commands: `attach_bundle` names one,
`activate_bundle` puts it in command, `rollback_bundle` the one before, `unstage_bundle` drops it.

The engine's control thread writes them before a command is answered, so an answered command is known even if the
engine is killed at once. Thresholds and masks are not among them: the telemetry map has those, however they came.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from cortexwire.config import EngineConfig
from cortexwire.errors import ConfigError
from cortexwire.pipeline import commands
from cortexwire.pipeline.settings import Matrix


class Decoding(msgspec.Struct, frozen=True):
    """A bundle with its overlay, or the bundle's own values; no bundle means the configuration's."""

    bundle: str | None
    overlay: str | None


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What holds, by the configuration and the commands since.

    Attributes:
        armed: Whether outputs may be commands.
        bundle: Folder of the bundle in command; none where it is still the configuration's.
        candidate: What would take over next.
        former: What was in command before.
        neutral: Whether the neutral stop is on.
        overlay: File of the overlay in force, or none.
        former_overlay: The one that a rollback brings back; none also where that is the bundle's own values.
        gain: Output gain.
        offset: Output offset, in units/s.
    """

    armed: bool = False
    bundle: str | None = None
    candidate: Decoding | None = None
    former: Decoding | None = None
    neutral: bool = False
    overlay: str | None = None
    former_overlay: str | None = None
    gain: float | Matrix = 1.0
    offset: tuple[float, float] = (0.0, 0.0)

    def after(self, command: commands.Command) -> "Orders":
        """What holds once a command was carried out."""
        match command:
            case commands.Arm():
                return msgspec.structs.replace(self, armed=True)
            case commands.Disarm():
                return msgspec.structs.replace(self, armed=False)
            case commands.Neutral(on=on):
                return msgspec.structs.replace(self, neutral=on)
            case commands.SetGain(gain=gain):
                return msgspec.structs.replace(self, gain=gain)
            case commands.SetOffset(offset=offset):
                return msgspec.structs.replace(self, offset=offset)
            case commands.ApplyOverlay(path=path):
                return msgspec.structs.replace(self, overlay=path, former_overlay=self.overlay)
            case commands.RollbackOverlay():
                return msgspec.structs.replace(self, overlay=self.former_overlay, former_overlay=None)
        return self.after_swap(msgspec.to_builtins(command))

    def after_swap(self, command: Mapping[str, Any]) -> "Orders":
        """What holds once a command, as plain values, was carried out that concerns bundles."""
        match command:
            case {"command": "attach_bundle", "path": path}:
                return msgspec.structs.replace(self, candidate=Decoding(path, command.get("overlay")))
            case {"command": "activate_bundle"} if self.candidate is not None:
                return msgspec.structs.replace(self._with(self.candidate), candidate=None)
            case {"command": "rollback_bundle"} if self.former is not None:
                return self._with(self.former)
            case {"command": "unstage_bundle"}:
                which = "former" if command.get("which") == "previous" else "candidate"
                return msgspec.structs.replace(self, **{which: None})
        return self

    def _with(self, decoding: Decoding) -> "Orders":
        former = Decoding(self.bundle, self.overlay)
        overlay = decoding.overlay
        return msgspec.structs.replace(
            self, bundle=decoding.bundle, overlay=overlay, former_overlay=None, former=former
        )


class OrderBook:
    """Keeps the orders of one engine in a file, which appears whole or not at all.

    Args:
        path: The file; an older engine's is replaced.
        config: What holds at first.

    Raises:
        ConfigError: The file cannot be written.
    """

    def __init__(self, path: Path, config: EngineConfig) -> None:
        self._path = path
        self._orders = Orders(
            armed=config.armed,
            overlay=None if config.overlay is None else str(config.overlay.absolute()),
            gain=config.pipeline.output.gain,
            offset=config.pipeline.output.offset,
        )
        try:
            self._write()
        except OSError as error:
            raise ConfigError(f"run_dir: cannot write {path}: {error.strerror}") from error

    def note(self, command: commands.Command) -> None:
        """A command was carried out.

        Raises:
            OSError: The file cannot be written.
        """
        orders = self._orders.after(command)
        if orders != self._orders:
            self._orders = orders
            self._write()

    def _write(self) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(self._orders))
        fresh.replace(self._path)


def read_orders(path: Path) -> Orders | None:
    """Read what an engine left; None where there is nothing, or nothing that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Orders)
    except (OSError, msgspec.MsgspecError):
        return None
