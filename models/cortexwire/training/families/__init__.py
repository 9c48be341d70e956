"""The decoder families, one file each, imported only when asked for: so torch comes only with a family.

To add one: write the file, end it with a `FAMILY`, and name it here.
"""

from importlib import import_module
from typing import Any, Final

from cortexwire.errors import ConfigError
from cortexwire.training.contract import Family

_TORCH_FREE: Final = ("wiener", "cascade", "kalman", "esn")
_WITH_TORCH: Final = ("mlp", "rnn", "gru", "lstm", "tcn", "snn")
_MODULES: Final = {name: f"cortexwire.training.families.{name}" for name in (*_TORCH_FREE, *_WITH_TORCH)}


def family_names() -> tuple[str, ...]:
    """Return the names of all families."""
    return tuple(_MODULES)


def needs_torch(name: str) -> bool:
    """Whether a family takes torch to train; none takes it to serve."""
    return name in _WITH_TORCH


def family(name: str) -> Family[Any]:
    """Return one family by name.

    Raises:
        ConfigError: There is none of that name, or it takes torch to train and torch is not there.
    """
    if name not in _MODULES:
        raise ConfigError(f"decoder: expected one of {', '.join(_MODULES)}, got {name!r}")
    try:
        module = import_module(_MODULES[name])
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ConfigError(
            f"decoder {name}: expected torch to train it with, got none; pip install 'cortexwire[train]', or choose "
            f"one of {', '.join(_TORCH_FREE)}"
        ) from error
    found: Family[Any] = module.FAMILY
    return found
