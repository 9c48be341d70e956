"""The reference bundle that comes with the package: where it lies, and the name that stands for it."""

from pathlib import Path
from typing import Final

import cortexwire

NAME: Final = "reference"


def reference_bundle() -> Path:
    """The folder of the shipped bundle, in whichever source root the decoders lie."""
    folders = [Path(root, "decoders", NAME) for root in cortexwire.__path__]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def bundle_folder(path: Path) -> Path:
    """The folder that a command line names: `reference` is the shipped one, unless there is such a folder here."""
    return reference_bundle() if str(path) == NAME and not path.is_dir() else path
