"""A Lua script that runs in the server."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import final

from openline.valkey.words import Word, pack


@final
class Script:
    """One script. It is run by its checksum; a server that does not know it is sent the source.

    Args:
        source: Lua, as the server runs it.
    """

    __slots__ = ("_sha", "_source")

    def __init__(self, source: str) -> None:
        self._source = source.encode()
        self._sha = hashlib.sha1(self._source, usedforsecurity=False).hexdigest().encode()

    @classmethod
    def read(cls, package: str, *names: str) -> Script:
        """Read a script from files beside the module that runs it; several are put behind each other."""
        folder = resources.files(package)
        return cls("".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names))

    def packed(self, keys: Sequence[bytes], args: Sequence[Word]) -> bytes:
        """Write the command that runs it."""
        return pack((b"EVALSHA", self._sha, len(keys), *keys, *args))

    def packed_whole(self, keys: Sequence[bytes], args: Sequence[Word]) -> bytes:
        """Write the command that runs it and makes it known to the server."""
        return pack((b"EVAL", self._source, len(keys), *keys, *args))
