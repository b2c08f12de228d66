"""Which slot of a cluster a key is in."""

from __future__ import annotations

from binascii import crc_hqx
from typing import Final

#: Slots of every cluster.
SLOTS: Final = 16_384


def slot_of(key: bytes) -> int:
    """Give the slot of a key: of what its first braces hold, if that is anything, else of the whole."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    # The checksum of the cluster specification (CRC16, XMODEM) is the one of BinHex files.
    return crc_hqx(key, 0) % SLOTS
