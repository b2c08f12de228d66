"""One batch on its way: what each audience is given."""

from __future__ import annotations

import pytest

from openline.framing import MESSAGES, Encoding
from openline.options import ChannelOptions, History
from openline.protocol.protobuf import PROTOBUF
from tests.engine import RecordingWire, running, send

RAW = ChannelOptions(raw=True, history=History())


class BinaryWire(RecordingWire):
    """The wire of a Protobuf client."""

    encoding = Encoding(PROTOBUF, MESSAGES)


async def test_json_in_a_raw_channel_reaches_json_clients() -> None:
    """A raw payload that happens to be JSON is embedded as it is."""
    async with running(RAW) as engine:
        wire, _ = engine.client("a")
        await engine.node.publish("a", b'{"x":1}', RAW)
        await engine.settle()
        assert wire.publications("a") == [{"x": 1}]


@pytest.mark.parametrize("payload", [b"\x00\xff", b"{", b"1\n2", b'"\xff"'])
async def test_bytes_that_are_no_json_end_a_json_client_with_3506(payload: bytes) -> None:
    """What cannot be embedded is not: the client is told that its protocol does not fit, the others are served."""
    async with running(RAW) as engine:
        wire, _ = engine.client("a")
        binary = BinaryWire()
        session = engine.commands.open(binary)
        session.receive(_frame(b"\x08\x01\x22\x00") + _frame(b"\x08\x02\x2a\x03\x0a\x01a"))
        await engine.settle()
        await engine.node.publish("a", payload, RAW)
        await engine.settle()
        assert wire.close_code == 3506
        assert wire.publications("a") == []
        assert binary.close_code is None
        assert payload in binary.chunks[-1]


async def test_raw_history_and_recovery_of_a_json_client_end_with_3506() -> None:
    """The same holds for what is kept: neither a recovery nor a page of history is written half."""
    async with running(RAW) as engine:
        await engine.node.publish("a", b"\xff", RAW)
        for command in (
            {"subscribe": {"channel": "a", "recover": True}},
            {"history": {"channel": "a", "limit": -1}},
        ):
            wire, session = engine.client()
            send(session, id=7, **command)
            assert wire.close_code == 3506


def _frame(message: bytes) -> bytes:
    return bytes((len(message),)) + message
