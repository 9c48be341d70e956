"""Shelves: overlays and bundles that commands name, loaded by whoever has time for a pipeline that has none.

What was not laid there is loaded when it is asked for, so a pipeline that is fed from a log needs no shelf filled.
"""

import threading
import weakref
from collections.abc import Callable

from cortexwire.decoders import Bundle, Decoder, ExecutorName, Overlay, load_bundle, load_overlay, make_decoder
from cortexwire.decoders.runtime_session import Provider
from cortexwire.errors import BundleError
from cortexwire.pipeline.commands import ApplyOverlay, AttachBundle, Command
from cortexwire.pipeline.strand import Strand

MOST_SHELVED = 4
"""Overlays kept for commands that may still come; the oldest go first."""


class OverlayShelf:
    """Overlays that commands name.

    Args:
        bundle: The bundle to which they must belong.
        decoder: Whoever they will be applied to, to make ready for it.
    """

    def __init__(self, bundle: Bundle, decoder: Decoder | None = None) -> None:
        self._bundle = bundle
        self._decoder = decoder
        self._strands: list[weakref.ref[Strand]] = []
        self._lock = threading.Lock()
        self._shelf: dict[str, Overlay] = {}

    def serve(self, strand: Strand) -> None:
        """Overlays may be of this strand's bundle, too, as long as there is one."""
        with self._lock:
            self._strands = [known for known in self._strands if known() is not None] + [weakref.ref(strand)]

    def prepare(self, command: Command) -> None:
        """Load the overlay of a command that applies one; other commands need nothing.

        Raises:
            BundleError: The file is missing, damaged, of another bundle, or has another hash.
        """
        if isinstance(command, ApplyOverlay):
            overlay = self._load(command)
            for bundle, decoder in self._served():
                if decoder is not None and bundle.sha256 == overlay.bundle_sha256:
                    decoder.prepare(overlay)
            self._shelf[command.hash] = overlay
            while len(self._shelf) > MOST_SHELVED:
                del self._shelf[next(iter(self._shelf))]

    def take(self, command: ApplyOverlay) -> Overlay:
        """Return the overlay of a command; one that was not prepared is loaded now.

        Raises:
            BundleError: As `prepare`.
        """
        return self._shelf.pop(command.hash, None) or self._load(command)

    def _served(self) -> list[tuple[Bundle, Decoder | None]]:
        with self._lock:
            known = [strand for reference in self._strands if (strand := reference()) is not None]
        return [(self._bundle, self._decoder), *((strand.bundle, strand.decoder) for strand in known)]

    def _load(self, command: ApplyOverlay) -> Overlay:
        fault = ""
        for bundle, _ in self._served():
            try:
                overlay = load_overlay(command.path, bundle)
            except BundleError as error:
                fault = fault or str(error)
                continue
            if f"{overlay.hash:016x}" != command.hash:
                raise BundleError(f"{command.path}: expected hash {command.hash}, got {overlay.hash:016x}")
            return overlay
        raise BundleError(fault)


class BundleShelf:
    """Bundles that commands attach.

    Args:
        executor: What decodes them.
        provider: Where.
        overlays: The shelf of overlays, which may then be theirs.
        ready: Called with a bundle before anything is made of it, so that it is made quickly.

    Attributes:
        make: Makes of a decoder what the pipeline takes; to be set before anything is prepared.
    """

    make: Callable[[Decoder], Strand]

    def __init__(
        self,
        executor: ExecutorName,
        provider: Provider,
        overlays: OverlayShelf,
        ready: Callable[[Bundle], None] = lambda _: None,
    ) -> None:
        self._executor: ExecutorName = executor
        self._provider: Provider = provider
        self._overlays = overlays
        self._ready = ready
        self._shelf: tuple[AttachBundle, Strand] | None = None

    def prepare(self, command: Command) -> None:
        """Load and warm the bundle of a command that attaches one; other commands need nothing.

        Raises:
            BundleError: It is missing, damaged, another one than named, or cannot run beside the one in command.
            ConfigError: Settings do not fit it.
        """
        if isinstance(command, AttachBundle):
            strand = self._load(command)
            self._let_go()
            self._shelf = command, strand

    def take(self, command: AttachBundle) -> Strand:
        """Return the bundle of a command; one that was not prepared is loaded now.

        Raises:
            BundleError, ConfigError: As `prepare`.
        """
        shelf, self._shelf = self._shelf, None
        if shelf is not None and shelf[0] == command:
            return shelf[1]
        return self._load(command)

    def _let_go(self) -> None:
        if self._shelf is not None:
            self._shelf[1].close()

    def _load(self, command: AttachBundle) -> Strand:
        bundle = load_bundle(command.path)
        if bundle.sha256 != command.sha256:
            raise BundleError(f"{command.path}: expected sha256 {command.sha256}, got {bundle.sha256}")
        overlay = None
        if command.overlay is not None:
            overlay = load_overlay(command.overlay, bundle)
            if f"{overlay.hash:016x}" != command.overlay_hash:
                raise BundleError(f"{command.overlay}: expected hash {command.overlay_hash}, got {overlay.hash:016x}")
        self._ready(bundle)
        strand = self.make(make_decoder(bundle, self._executor, self._provider, overlay))
        self._overlays.serve(strand)
        return strand
