"""How deep the JSON of a client may nest, before anybody reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

import pytest

from openline.counters import Counters
from openline.errors import BadRequest, Disconnect
from openline.nesting import Nesting
from openline.notices import Notices
from openline.protocol.messages import (
    ConnectRequest,
    PublishRequest,
    Request,
    RpcRequest,
    SendRequest,
    SubscribeRequest,
    UnsubscribeRequest,
    raw,
)
from openline.testing import VirtualClock


class Trial:
    """A check with a limit of 3."""

    def __init__(self) -> None:
        self.counters = Counters()
        self._nesting = Nesting(3, Notices(self.counters, VirtualClock()))

    def check(self, request: Request) -> None:
        """Check a request of session abc."""
        self._nesting.check("abc", request)


def nested(depth: int) -> bytes:
    """Give arrays within each other."""
    return b"[" * depth + b"]" * depth


REQUESTS: Final[dict[str, Callable[[bytes], Request]]] = {
    "connect": lambda data: ConnectRequest(data=raw(data)),
    "subscribe": lambda data: SubscribeRequest(channel="a", data=raw(data)),
    "publish": lambda data: PublishRequest(channel="a", data=raw(data)),
    "rpc": lambda data: RpcRequest(method="a", data=raw(data)),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_at_the_limit_passes_and_one_past_it_does_not(kind: str) -> None:
    """The error names how deep it was, and how deep it may be."""
    trial, make = Trial(), REQUESTS[kind]
    trial.check(make(nested(3)))
    with pytest.raises(BadRequest, match="data nests 4 deep, and 3 is the limit"):
        trial.check(make(nested(4)))
    assert trial.counters.messages_too_deep == 1


def test_what_has_no_answer_ends_the_connection() -> None:
    """Whoever sends it would never learn of it."""
    trial = Trial()
    trial.check(SendRequest(data=raw(nested(3))))
    with pytest.raises(Disconnect, match="3501"):
        trial.check(SendRequest(data=raw(nested(4))))


def test_what_carries_nothing_is_not_looked_at() -> None:
    """A request without data, and one that has none."""
    trial = Trial()
    trial.check(RpcRequest(method="a"))
    trial.check(UnsubscribeRequest(channel="a"))


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps("[[[[[[").encode(),
        json.dumps({"text": '\\"[[[[[[\\', "[[[[": 1}).encode(),
        json.dumps([[1], [2], [3], {"a": [4]}] * 50).encode(),
    ],
)
def test_brackets_that_do_not_nest_do_not_count(payload: bytes) -> None:
    """In texts, and beside each other."""
    Trial().check(RpcRequest(data=raw(payload)))


@pytest.mark.parametrize("payload", [b"\xff[[[[[[", b"[[[[[[\xff", b"\x08\x01[[[[[[{{{{", b"RIFF[[[[[["])
def test_bytes_that_are_no_json_may_hold_any_brackets(payload: bytes) -> None:
    """A Protobuf client may send a picture."""
    Trial().check(PublishRequest(channel="a", data=raw(payload)))


@pytest.mark.parametrize("depth", [4, 1_000, 10_000])
def test_the_check_itself_does_not_go_down(depth: int) -> None:
    """However deep it nests; white space before it changes nothing."""
    for payload in (nested(depth), b" \n" + nested(depth), b'{"a":' * depth + b"1" + b"}" * depth):
        with pytest.raises(BadRequest, match=f"nests {depth} deep"):
            Trial().check(PublishRequest(channel="a", data=raw(payload)))


def test_the_log_says_so_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever does it does it again."""
    trial = Trial()
    for _ in range(10):
        with pytest.raises(BadRequest):
            trial.check(RpcRequest(data=raw(nested(4))))

    assert caplog.messages == ["session abc sent data that nests 4 deep, past Limits.json_depth (3): refused"]
    assert trial.counters.messages_too_deep == 10
