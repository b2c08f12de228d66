"""What a client posts beside its stream: a frame, and for whom it is.

Source: docs/reference/protocol.md, "Streams and posts".
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from openline.protocol.codec import DecodeError
from openline.protocol.json import depth_past

#: How deep the JSON around a frame may nest; the frame itself is a text in it.
_DEEPEST: Final = 8


class EmulationRequest(NamedTuple):
    """A frame of a client, as it is posted.

    Attributes:
        node: that holds the stream.
        session: the secret of the stream.
        frame: one whole message, as it would have been sent over a WebSocket.
    """

    node: str
    session: str
    frame: bytes


class _Body(msgspec.Struct):
    node: str = ""
    session: str = ""
    data: str = ""


_decoder: Final = msgspec.json.Decoder(_Body)


def read_emulation(body: bytes, *, binary: bool) -> EmulationRequest:
    """Read what was posted.

    Args:
        binary: it is Protobuf.
    Raises:
        DecodeError: it is nothing of the kind, or names no session.
        MissingExtra: it is Protobuf, and the library for that is not installed.
    """
    request = _read_binary(body) if binary else _read_text(body)
    if not request.session or not request.frame:
        raise DecodeError("session or data is missing")
    return request


def _read_text(body: bytes) -> EmulationRequest:
    if depth_past(body, _DEEPEST):
        raise DecodeError("it nests too deep")
    try:
        read = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"no JSON of this kind: {error}") from error
    return EmulationRequest(read.node, read.session, read.data.encode())


def _read_binary(body: bytes) -> EmulationRequest:
    from openline.protocol.protobuf import decode_emulation  # noqa: PLC0415  # an optional part

    return EmulationRequest(*decode_emulation(body))
