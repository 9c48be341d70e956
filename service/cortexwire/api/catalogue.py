"""The catalogue: bundles and overlays that clients may load, and what is known of a bundle by its hash.

Clients name what lies in the folder on offer, the shipped bundle, or what the engine began with; a path to anywhere
else is refused, so that the API opens no file that it was not given.
"""

import hashlib
from pathlib import Path
from typing import Any, Final, NamedTuple

from cortexwire.decoders.bundle import MANIFEST, short_hash
from cortexwire.decoders.manifest import Manifest, parse_manifest
from cortexwire.errors import BundleError, ConfigError
from cortexwire.runtime.shipped import NAME, reference_bundle
from cortexwire.wire import Start

OVERLAY_SUFFIX: Final = ".overlay"
"""What the name of an overlay's file ends with."""
_MAGIC: Final = b"CXWOVL"
_MOST_KNOWN: Final = 256


class Offered(NamedTuple):
    """A bundle that clients may load."""

    name: str
    path: Path
    sha256: str
    manifest: Manifest

    @property
    def hash(self) -> str:
        """The bundle's number in every output, 16 hexadecimal digits."""
        return f"{short_hash(self.sha256):016x}"


class Catalogue:
    """What may be loaded, read from disk each time that it is asked for; what a hash means is remembered.

    Args:
        folder: Folder on offer, or none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[int, Manifest] = {}
        self._missed: tuple[int, str, str] | None = None

    def bundles(self, start: Start | None) -> list[Offered]:
        """The bundles that may be loaded; of folders that are none, nothing is said."""
        folders = [] if self._folder is None or not self._folder.is_dir() else sorted(self._folder.iterdir())
        named = {folder.name: folder for folder in folders}
        named.setdefault(NAME, reference_bundle())
        offered = [found for name, path in named.items() if (found := _read(name, path)) is not None]
        # An engine that was started again began with a copy.
        if start is not None and start.bundle_sha256 not in (bundle.sha256 for bundle in offered):
            name = Path(start.bundle).name
            if name not in named and (found := _read(name, Path(start.bundle))) is not None:
                offered.append(found)
        for bundle in offered:
            self._known[short_hash(bundle.sha256)] = bundle.manifest
        return offered

    def overlays(self) -> list[Path]:
        """The overlays that may be applied."""
        folder = self._folder
        return [] if folder is None or not folder.is_dir() else sorted(folder.glob(f"*{OVERLAY_SUFFIX}"))

    def bundle(self, asked: str, start: Start | None) -> Offered:
        """The bundle that a client names, or gives the folder of.

        Raises:
            ConfigError: It is not on offer.
        """
        offered = self.bundles(start)
        found = next((bundle for bundle in offered if asked in (bundle.name, str(bundle.path))), None)
        if found is None:
            names = ", ".join(bundle.name for bundle in offered) or "none"
            raise ConfigError(f"bundle: expected one on offer ({names}), got {asked!r}")
        return found

    def overlay(self, asked: str) -> tuple[Path, str]:
        """The overlay that a client names, or gives the path of, and its hash, 16 hexadecimal digits.

        Raises:
            ConfigError: It is not on offer, or no overlay.
        """
        offered = self.overlays()
        found = next((path for path in offered if asked in (path.name, path.stem, str(path))), None)
        if found is None:
            names = ", ".join(path.stem for path in offered) or "none"
            raise ConfigError(f"overlay: expected one on offer ({names}), got {asked!r}")
        content = found.read_bytes()
        if not content.startswith(_MAGIC):
            raise ConfigError(f"overlay: expected an overlay in {found.name}")
        return found, f"{short_hash(hashlib.sha256(content).hexdigest()):016x}"

    def electrodes(self, bundle_hash: int, start: Start | None, folder: str = "") -> list[dict[str, str]]:
        """Electrodes that the bundle with this hash was made for, in channel order.

        Args:
            bundle_hash: Its hash.
            start: What the engine began with.
            folder: Where the engine says that it lies; it need not be on offer.
        """
        manifest = self._manifest(bundle_hash, start, folder)
        electrodes: Any = () if manifest is None else manifest.stream.electrodes
        return [{"id": electrode.id, "bank": electrode.bank} for electrode in electrodes]

    def _manifest(self, bundle_hash: int, start: Start | None, folder: str) -> Manifest | None:
        missed = bundle_hash, "" if start is None else start.bundle, folder
        if bundle_hash not in self._known and missed != self._missed:
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            self.bundles(start)
            if folder and (found := _read(folder, Path(folder))) is not None:
                self._known[short_hash(found.sha256)] = found.manifest
            # Frames ask many times a second: the disk is not read for each of them.
            self._missed = None if bundle_hash in self._known else missed
        return self._known.get(bundle_hash)


def _read(name: str, path: Path) -> Offered | None:
    try:
        content = (path / MANIFEST).read_bytes()
        return Offered(name, path, hashlib.sha256(content).hexdigest(), parse_manifest(content, str(path / MANIFEST)))
    except (OSError, BundleError):
        return None
