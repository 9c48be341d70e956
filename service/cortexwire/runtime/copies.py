"""Where the models of a recording are: its own copies, the paths that it names, or what the user names.

A bundle is the one that is meant if its hash is; an overlay likewise. What lies at a path now need not be what lay
there when the recording was made.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from cortexwire.decoders import Bundle, load_bundle
from cortexwire.decoders.bundle import short_hash
from cortexwire.errors import BundleError
from cortexwire.pipeline.commands import Command

BUNDLE = "bundle"
BUNDLES = "bundles"
OVERLAYS = "overlays"


class Copies:
    """Finds bundles and overlays by their hashes.

    Args:
        folder: The recording.
        given: A bundle that the user names, or none.
    """

    def __init__(self, folder: Path, given: Path | None = None) -> None:
        self._folder = folder
        self._given = given
        self._found: dict[str, Bundle] = {}

    def bundle(self, sha256: str, path: str) -> Bundle:
        """The bundle with a hash.

        Args:
            sha256: Its hash.
            path: Where it was.

        Raises:
            BundleError: None of that hash is to be found; says where was looked and what was there.
        """
        if sha256 in self._found:
            return self._found[sha256]
        looked = []
        for place in self._bundle_places(sha256, path):
            try:
                bundle = load_bundle(place)
            except (BundleError, OSError) as error:
                looked.append(f"{place}: {error}")
                continue
            if bundle.sha256 == sha256:
                self._found[sha256] = bundle
                return bundle
            looked.append(f"{place}: its sha256 is {bundle.sha256}")
        raise BundleError(
            f"expected a bundle with sha256 {sha256}, got none: " + "; ".join(looked or ["nowhere to look"])
        )

    def overlay(self, number: str, path: str) -> Path:
        """The file of an overlay: the recording's copy where there is one, else where it was.

        Args:
            number: Its hash as commands give it, 16 hexadecimal digits.
            path: Where it was.
        """
        copy = self._folder / OVERLAYS / number
        if copy.is_file():
            return copy
        return Path(path)

    def overlay_of(self, sha256: str, path: str) -> Path:
        """The same by the overlay's whole hash."""
        return self.overlay(f"{short_hash(sha256):016x}", path)

    def located(self, command: Command) -> Command:
        """A command whose paths lead to the recording's own copies where it names a hash."""
        changes: dict[str, str] = {}
        for path, known, find in (
            ("path", "sha256", self._bundle_path),
            ("path", "hash", self._overlay_path),
            ("overlay", "overlay_hash", self._overlay_path),
        ):
            place, number = getattr(command, path, None), getattr(command, known, None)
            if isinstance(place, str) and isinstance(number, str):
                changes[path] = find(number, place)
        return msgspec.structs.replace(command, **changes) if changes else command

    def _bundle_path(self, sha256: str, path: str) -> str:
        return str(self.bundle(sha256, path).path)

    def _overlay_path(self, number: str, path: str) -> str:
        return str(self.overlay(number, path))

    def _bundle_places(self, sha256: str, path: str) -> Iterator[Path]:
        for copy in (self._folder / BUNDLE, self._folder / BUNDLES / sha256[:16]):
            if copy.is_dir():
                yield copy
        if path:
            yield Path(path)
        if self._given is not None:
            yield self._given
