"""JSON and Protobuf side by side in the same channels, on every server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import centrifuge
import pytest

from tests.servers.people import Crowd, crowd
from tests.servers.server import Server


@pytest.fixture
async def both(server: Server) -> AsyncIterator[Crowd]:
    """A maker of clients that speak JSON, unless told otherwise."""
    async with crowd(server, protobuf=False) as made:
        yield made


async def test_both_hear_the_same(both: Crowd, name: str) -> None:
    """What one says in a room the other hears, with the same offset, whichever of them it was."""
    rooms = [
        await (await both.connected("alice", protobuf=protobuf)).enter(f"room:{name}") for protobuf in (False, True)
    ]

    for room in rooms:
        await room.say({"author": "", "text": "żółw 🐢"})
    heard = [[await room.ear.next("publication") for _ in range(2)] for room in rooms]

    assert [[publication.pub.offset for publication in each] for each in heard] == [[1, 2]] * 2
    json_data, protobuf_data = [[publication.pub.data for publication in each] for each in heard]
    assert json_data == [{"author": "alice", "text": "żółw 🐢"}] * 2
    assert protobuf_data == [b'{"author":"alice","text":"\xc5\xbc\xc3\xb3\xc5\x82w \xf0\x9f\x90\xa2"}'] * 2


async def test_a_raw_channel_carries_any_bytes(both: Crowd, name: str) -> None:
    """What a Protobuf client sends into it comes out untouched."""
    blob = await (await both.connected("alice", protobuf=True)).enter(f"blob:{name}")

    await blob.subscription.publish(bytes(range(256)))

    assert (await blob.ear.next("publication")).pub.data == bytes(range(256))


async def test_bytes_that_are_no_json_are_refused_in_a_channel_of_json(both: Crowd, name: str) -> None:
    """The refusal is 107: no JSON client could be sent them."""
    hall = await (await both.connected("alice", protobuf=True)).enter(f"hall:{name}")

    with pytest.raises(centrifuge.ReplyError) as refused:
        await hall.subscription.publish(b"\x00\xff")

    assert refused.value.code == 107


async def test_a_json_client_cannot_be_sent_raw_bytes(both: Crowd, name: str) -> None:
    """It is closed with 3506 and stays away, and the Protobuf client beside it goes on."""
    alice = await both.connected("alice")
    await alice.enter(f"blob:{name}")
    blob = await (await both.connected("bob", protobuf=True)).enter(f"blob:{name}")

    await blob.subscription.publish(b"\x00\xff")

    assert (await alice.ear.next("disconnected")).code == 3506
    assert (await blob.ear.next("publication")).pub.data == b"\x00\xff"
