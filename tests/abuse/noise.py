"""What a client might send: right, nearly right, and anything. Strategies of hypothesis."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from hypothesis import strategies as st

from openline.protocol import messages
from openline.testing.binary import encode_commands
from tests.test_fuzz import commands as requests
from tests.wires.client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, compressed, frame, request

#: The first of the reserved bits: the message is compressed.
RSV1: Final = 4
_EXTREMES: Final = (
    2**31,
    2**32,
    2**63,
    2**64 - 1,
    2**64,
    -1,
    -(2**63) - 1,
    10**400,
    1e308,
    float("nan"),
    "\0",
    "\ud83d",
)

anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), st.sampled_from(_EXTREMES)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=5,
)


def _of(kind: str, struct: type[Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = st.dictionaries(st.sampled_from(struct.__struct_fields__ or ("none",)), anything, max_size=4)
    return st.fixed_dictionaries({kind: st.one_of(fields, fields, fields, anything)})


#: The name of each request in a command, and what is known to be in it.
_KINDS: Final = {
    "connect": messages.ConnectRequest,
    "subscribe": messages.SubscribeRequest,
    "unsubscribe": messages.UnsubscribeRequest,
    "publish": messages.PublishRequest,
    "presence": messages.PresenceRequest,
    "presence_stats": messages.PresenceStatsRequest,
    "history": messages.HistoryRequest,
    "ping": messages.PingRequest,
    "send": messages.SendRequest,
    "rpc": messages.RpcRequest,
    "refresh": messages.RefreshRequest,
    "sub_refresh": messages.SubRefreshRequest,
}
#: One of the requests there are, with whatever in whatever field of it.
wrong_requests = st.one_of([_of(kind, struct) for kind, struct in _KINDS.items()])

ids = st.integers(1, 9)
right_commands = st.builds(lambda identifier, request: {"id": identifier, **request}, ids, requests)
wrong_commands = st.one_of(
    st.builds(lambda identifier, request: {"id": identifier, **request}, ids, wrong_requests),
    st.builds(lambda identifier, request: {"id": identifier, **request}, anything, requests),
    st.builds(lambda one, other: {"id": 1, **one, **other}, requests, wrong_requests),
    anything,
)
#: JSON, also with the same key twice, and with what only Python writes.
texts = st.one_of(
    st.lists(right_commands, min_size=1, max_size=4).map(lambda lines: "\n".join(map(json.dumps, lines))),
    st.lists(wrong_commands, min_size=1, max_size=2).map(lambda lines: "\n".join(map(json.dumps, lines))),
    st.builds(lambda command: json.dumps(command).replace("}", ',"id":2}'), right_commands),
    st.text(max_size=20),
).map(lambda text: text.encode(errors="surrogatepass"))


def _encoded(commands: list[dict[str, Any]]) -> bytes:
    return encode_commands(commands)


def _behind_its_length(message: bytes) -> bytes:
    return bytes((len(message),)) + message


protobufs = st.one_of(
    st.lists(right_commands, min_size=1, max_size=4).map(_encoded),
    st.binary(max_size=60).map(_behind_its_length),
    st.binary(max_size=20),
)

# --- frames -----------------------------------------------------------------------------------------------------------


def _whole(opcode: int, payload: bytes) -> bytes:
    return frame(opcode, payload)


def _compressed(opcode: int, payload: bytes) -> bytes:
    return frame(opcode, compressed(payload), reserved=RSV1)


def _cut(opcode: int, payload: bytes) -> bytes:
    half = len(payload) // 2
    return frame(opcode, payload[:half], fin=False) + frame(PING, b"amid") + frame(CONTINUATION, payload[half:])


def _masks() -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda opcode, payload, fin, masked, reserved: frame(
            opcode, payload, fin=fin, masked=masked, reserved=reserved
        ),
        st.sampled_from([TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG, 3, 15]),
        st.binary(max_size=130),
        st.booleans(),
        st.booleans(),
        st.integers(0, 7),
    )


def frames(*, protobuf: bool) -> st.SearchStrategy[bytes]:
    """Give some bytes that are frames, or not quite."""
    opcode = BINARY if protobuf else TEXT
    ways: st.SearchStrategy[Callable[[int, bytes], bytes]] = st.sampled_from([_whole, _whole, _compressed, _cut])
    message = st.builds(lambda way, payload: way(opcode, payload), ways, protobufs if protobuf else texts)
    control = st.builds(frame, st.sampled_from([PING, PONG]), st.binary(max_size=125))
    return st.one_of(message, message, message, control, _masks(), st.binary(max_size=40))


# --- handshakes -------------------------------------------------------------------------------------------------------

_PATHS: Final = (
    "/connection/websocket",
    "/connection/websocket?format=protobuf&cf_ws_frame_ping_pong=true",
    "/echo",
    "/",
    "*",
    "http://test/echo",
    "//echo",
    "/echo?%ff%00#x",
)
_HEADERS: Final = {
    "Host": ["test", None, "test, test", "[::1"],
    "Upgrade": ["websocket", None, "h2c", "websocket, websocket"],
    "Connection": ["Upgrade", None, "keep-alive, Upgrade", "close"],
    "Sec-WebSocket-Version": ["13", None, "12", "13, 13"],
    "Sec-WebSocket-Key": ["dGhlIHNhbXBsZSBub25jZQ==", None, "short", "\xff"],
    "Sec-WebSocket-Protocol": [None, "centrifuge-protobuf", "", ",,\xe4", "x" * 5_000],
    "Sec-WebSocket-Extensions": [None, "permessage-deflate; client_max_window_bits=\xb2", "permessage-deflate, " * 300],
    "Origin": [None, "http://test", "null", "http://\xff", "https://elsewhere.example"],
    "Content-Length": [None, "5", "-1"],
    "Transfer-Encoding": [None, "chunked"],
}


@st.composite
def handshakes(draw: st.DrawFn) -> bytes:
    """Give some bytes that are a handshake, or not quite."""
    headers = {name: draw(st.one_of(st.just(values[0]), st.sampled_from(values))) for name, values in _HEADERS.items()}
    method = draw(st.one_of(st.just("GET"), st.sampled_from(["POST", "CONNECT", "OPTIONS", "get"])))
    data = bytearray(request(draw(st.sampled_from(_PATHS)), headers, method))
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        index = draw(st.integers(0, len(data)))
        data[index : index + draw(st.integers(0, 3))] = draw(st.one_of(st.binary(max_size=3), st.just(b"\r\n")))
    return bytes(data)
