"""The vectors: one message in both encodings, byte for byte. Every client of this project reads the same files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

FOLDER: Final = Path(__file__).parent.parent / "vectors"


class Vector(msgspec.Struct, frozen=True):
    """One message (or, in `frames`, several) as JSON text and as length-prefixed Protobuf in hexadecimal."""

    name: str
    json: str
    protobuf: str
    commands: int = 1

    @property
    def text(self) -> bytes:
        """The JSON text as it is on the wire."""
        return self.json.encode()

    @property
    def binary(self) -> bytes:
        """The Protobuf bytes as they are on the wire."""
        return bytes.fromhex(self.protobuf)

    @property
    def value(self) -> Any:
        """What the JSON text says to a reader that knows nothing of the protocol."""
        return msgspec.json.decode(self.text)


class RefusedVector(msgspec.Struct, frozen=True):
    """A frame that is not of the protocol; None where one encoding cannot say it."""

    name: str
    json: str | None
    protobuf: str | None
    before: int  #: how many commands are given out before the broken one


def read(name: str) -> list[Vector]:
    """Give the vectors of one file."""
    return msgspec.json.decode((FOLDER / f"{name}.json").read_bytes(), type=list[Vector])


COMMANDS: Final = read("commands")
REPLIES: Final = [*read("replies"), *read("pushes"), *read("codes")]
FRAMES: Final = read("frames")
REFUSED: Final = msgspec.json.decode((FOLDER / "refused.json").read_bytes(), type=list[RefusedVector])
