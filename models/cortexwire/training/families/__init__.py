"""The decoder families, one file each, imported only when asked for: so torch comes only with a family.

To add one: write the file, end it with a `FAMILY`, and name it here.
"""

from importlib import import_module
from typing import Any, Final

from cortexwire.errors import ConfigError
from cortexwire.training.contract import Family

_MODULES: Final = {"wiener": "cortexwire.training.families.wiener"}


def family_names() -> tuple[str, ...]:
    """Return the names of all families."""
    return tuple(_MODULES)


def family(name: str) -> Family[Any]:
    """Return one family by name.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in _MODULES:
        raise ConfigError(f"decoder: expected one of {', '.join(_MODULES)}, got {name!r}")
    found: Family[Any] = import_module(_MODULES[name]).FAMILY
    return found
