"""Compressed messages (RFC 7692): agreeing on them with a client, and reading what it compressed.

On ordinary routes both sides keep their context from message to message, so each such connection has a compressor of
its own. On a hub's neither does: what is sent is compressed once for many clients, and what is received leaves nothing
behind that has to be kept.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, NegotiationError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.server import ServerProtocol
from websockets.typing import ExtensionParameter

from openline.framing import FLUSHED, MEMORY_LEVEL, WINDOW_BITS

#: With context. The small window makes some 64 KiB of a connection that costs 300 KiB with zlib's own.
KEEPING: Final = ServerPerMessageDeflateFactory(
    server_max_window_bits=WINDOW_BITS,
    client_max_window_bits=WINDOW_BITS,
    compress_settings={"memLevel": MEMORY_LEVEL},
)


class _OneWindow(ServerPerMessageDeflateFactory):
    """Agrees to no smaller window of the server's than its own: what is compressed for one has to suit them all."""

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        """Look at one offer.

        Raises:
            NegotiationError: it will not do.
        """
        answer, agreed = super().process_request_params(params, accepted_extensions)
        if agreed.local_max_window_bits != self.server_max_window_bits:
            raise NegotiationError("the window is smaller than that of the others")
        return answer, agreed


#: Without. How large the client makes its window does not matter.
FORGETTING: Final = _OneWindow(
    server_no_context_takeover=True, client_no_context_takeover=True, server_max_window_bits=WINDOW_BITS
)
_LARGEST_WINDOW_BITS: Final = 15

#: The header of offer and answer.
EXTENSIONS: Final = b"sec-websocket-extensions"


def agree(
    offers: list[bytes], terms: ServerPerMessageDeflateFactory
) -> tuple[list[tuple[bytes, bytes]], PerMessageDeflate | None]:
    """Agree on compression: give the headers that tell the client, and what was agreed on, if anything was.

    Args:
        offers: the values of the client's `Sec-WebSocket-Extensions`.
        terms: `KEEPING` or `FORGETTING`.
    """
    if offers:
        headers = Headers([("Sec-WebSocket-Extensions", offer.decode("latin-1")) for offer in offers])
        with suppress(InvalidHandshake):
            match ServerProtocol(extensions=[terms]).process_extensions(headers):
                case (str() as answer, [PerMessageDeflate() as agreed]):
                    return [(EXTENSIONS, answer.encode())], agreed
    return [], None


def reading() -> PerMessageDeflate:
    """Give what makes a parser read the messages of a client that agreed to the terms of `FORGETTING`."""
    bits = _LARGEST_WINDOW_BITS
    return PerMessageDeflate(
        remote_no_context_takeover=True,
        local_no_context_takeover=True,
        remote_max_window_bits=bits,
        local_max_window_bits=bits,
    )


def inflate(payload: bytes, limit: int | None) -> bytes | None:
    """Give a whole message as it was before a client compressed it on the terms of `FORGETTING`.

    None where it was not compressed, or is longer than the limit in bytes: hardly more than that is ever made of it.
    """
    decompressor = zlib.decompressobj(wbits=-_LARGEST_WINDOW_BITS)
    try:
        message = decompressor.decompress(payload + FLUSHED, 0 if limit is None else limit + 1)
    except zlib.error:
        return None
    return None if limit is not None and len(message) > limit else message
