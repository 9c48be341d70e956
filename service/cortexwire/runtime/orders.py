"""Standing orders: what operators' commands have left in force, in the run directory for whoever starts an engine anew.

Which bundle and overlay are in force is not among them, since a takeover may be withdrawn after it was asked for: the
telemetry map names both by their hashes, and here stands where each that a command has named is to be found. Thresholds
and masks are in the map, too, however they came. The engine's control thread writes the orders before a command is
answered, and its hot loop the map, so an answered command is known even if the engine is killed at once.
"""

from pathlib import Path

import msgspec

from cortexwire.config import EngineConfig
from cortexwire.decoders.bundle import short_hash
from cortexwire.errors import ConfigError
from cortexwire.pipeline import commands
from cortexwire.pipeline.settings import Matrix
from cortexwire.wire import Start


class KnownBundle(msgspec.Struct, frozen=True):
    """Where a bundle lies, and its hash."""

    path: str
    sha256: str


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What holds, by the configuration and the commands since.

    Attributes:
        armed: Whether outputs may be commands.
        neutral: Whether the neutral stop is on.
        gain: Output gain.
        offset: Output offset, in units/s.
        masks: Channels that commands have masked (True) or unmasked; the map has all, but only from the next bin on.
        bundles: Bundles that may be in force, by the number that outputs have for them, 16 hexadecimal digits.
        overlays: Files of overlays that may be in force, likewise.
    """

    armed: bool = False
    neutral: bool = False
    gain: float | Matrix = 1.0
    offset: tuple[float, float] = (0.0, 0.0)
    masks: dict[int, bool] = {}
    bundles: dict[str, KnownBundle] = {}
    overlays: dict[str, str] = {}

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
            case commands.Mask(channels=channels, masked=masked):
                return msgspec.structs.replace(self, masks=self.masks | dict.fromkeys(channels, masked))
            case commands.ApplyOverlay(path=path, hash=number):
                return self._knowing(overlay=(number, path))
            case commands.AttachBundle(path=path, sha256=sha256, overlay=overlay, overlay_hash=number):
                named = None if overlay is None or number is None else (number, overlay)
                return self._knowing(bundle=KnownBundle(path, sha256), overlay=named)
        return self

    def _knowing(self, bundle: KnownBundle | None = None, overlay: tuple[str, str] | None = None) -> "Orders":
        bundles = {} if bundle is None else {f"{short_hash(bundle.sha256):016x}": bundle}
        overlays = {} if overlay is None else dict([overlay])
        return msgspec.structs.replace(self, bundles=self.bundles | bundles, overlays=self.overlays | overlays)

    def started(self, start: Start) -> "Orders":
        """What holds where an engine began with these models."""
        known = self._knowing(bundle=KnownBundle(start.bundle, start.bundle_sha256))
        if start.overlay is None or start.overlay_sha256 is None:
            return known
        return known._knowing(overlay=(f"{short_hash(start.overlay_sha256):016x}", start.overlay))


class OrderBook:
    """Keeps the orders of one engine in a file, which appears whole or not at all.

    Args:
        path: The file; an older engine's is replaced.
        config: What holds at first.
        start: The models that the engine begins with.

    Raises:
        ConfigError: The file cannot be written.
    """

    def __init__(self, path: Path, config: EngineConfig, start: Start | None = None) -> None:
        self._path = path
        output, neutral = config.pipeline.output, config.pipeline.safety.neutral
        orders = Orders(armed=config.armed, neutral=neutral, gain=output.gain, offset=output.offset)
        self._orders = orders if start is None else orders.started(start)
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
