"""Who the channels of a recording are: named in the toml, in an array, in a header, or not at all."""

import numpy as np

from cortexwire.errors import SessionError
from cortexwire.sessions.description import Description, EventsSpec, RecordedSpec
from cortexwire.sessions.stores import Store
from cortexwire.wire import Electrode


def channel_names(where: str, description: Description, store: Store) -> tuple[str, ...]:
    """Identities in channel order, or nothing where nobody recorded them.

    Raises:
        SessionError: The array that the toml names does not hold them.
    """
    spec, signal = description.electrodes, description.signal
    if spec.names is not None:
        return spec.names
    if spec.key is not None:
        array = store.array(spec.key)
        table = array[:, np.newaxis] if array.ndim == 1 else array
        if table.ndim != 2 or not 0 <= spec.column < table.shape[1]:
            came = f"shape {array.shape}"
            raise SessionError(f"{where}: electrodes.key: expected a column {spec.column}, got {came}")
        return tuple(str(name) for name in table[:, spec.column].tolist())
    if isinstance(signal, EventsSpec | RecordedSpec) or signal.key is None:
        return ()
    return store.names(signal.key)


def make_electrodes(names: tuple[str, ...], bank_size: int | None) -> tuple[Electrode, ...]:
    """Electrodes of these names, in banks of `bank_size` or in none."""
    return tuple(
        Electrode(name, bank_name(index // bank_size) if bank_size else "") for index, name in enumerate(names)
    )


def bank_name(number: int) -> str:
    """Banks are A to Z, then AA, AB, and so on."""
    name = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        name = chr(ord("A") + letter) + name
    return name
