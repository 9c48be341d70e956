"""The two checksums of the protocol: CRC-32 (zlib's) for damage, FNV-1a 64 for identity."""

from functools import lru_cache
from zlib import crc32

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_U64 = 0xFFFFFFFFFFFFFFFF


@lru_cache(maxsize=16)
def fnv1a_64(data: bytes) -> int:
    """Hash bytes with 64-bit FNV-1a (Fowler, Noll and Vo).

    Cached, because a descriptor comes again every second and a byte costs tens of nanoseconds here.
    """
    value = _FNV_OFFSET
    for byte in data:
        value = ((value ^ byte) * _FNV_PRIME) & _U64
    return value


def crc32_with_hole(data: bytes | bytearray | memoryview, hole: int) -> int:
    """Take the CRC-32 of a message as if the four bytes at `hole`, where it is kept, were zero."""
    view = memoryview(data)
    return crc32(view[hole + 4 :], crc32(b"\0\0\0\0", crc32(view[:hole])))
