"""What comes with the package: the reference bundle and the default budgets, and the names that stand for them."""

from pathlib import Path
from typing import Final

import cortexwire

NAME: Final = "reference"
BUDGETS: Final = "default"
_BUDGETS_FILE: Final = "budgets.toml"


def reference_bundle() -> Path:
    """The folder of the shipped bundle, in whichever source root the decoders lie."""
    folders = [Path(root, "decoders", NAME) for root in cortexwire.__path__]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def bundle_folder(path: Path) -> Path:
    """The folder that a command line names: `reference` is the shipped one, unless there is such a folder here."""
    return reference_bundle() if str(path) == NAME and not path.is_dir() else path


def default_budgets() -> Path:
    """The shipped file of budgets: in sources beside the benchmarks' root, installed among the benchmarks.

    Sources go first, for an editable installation holds a copy that nobody keeps up with them.
    """
    roots = [Path(root) for root in cortexwire.__path__]
    sources = [root.with_name(_BUDGETS_FILE) for root in roots if root.parent.name == "bench"]
    files = [*sources, *(root / "bench" / _BUDGETS_FILE for root in roots)]
    return next((file for file in files if file.is_file()), files[0])


def budgets_file(path: Path) -> Path:
    """The file that a command line names: `default` is the shipped one, unless there is such a file here."""
    return default_budgets() if str(path) == BUDGETS and not path.is_file() else path
