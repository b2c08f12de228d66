"""The released Python SDK on the standalone server, in both its modes."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from centrifuge import DeltaType

from tests.servers.login import subscription_token
from tests.servers.people import LIMIT_SECONDS, Crowd, crowd
from tests.servers.server import Server


@pytest.fixture(params=["json", "protobuf"])
async def people(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Crowd]:
    """A maker of clients, in each of the SDK's modes."""
    async with crowd(server, protobuf=request.param == "protobuf") as made:
        yield made


@pytest.fixture
def name() -> str:
    """A name nobody has had before."""
    return uuid.uuid4().hex


async def call(server: Server, method: str, **parameters: Any) -> dict[str, Any]:
    """Have the back end call a method of the server API; give its result."""
    async with httpx2.AsyncClient(trust_env=False, timeout=LIMIT_SECONDS) as client:
        headers = {"X-API-Key": "key-of-the-back-end"}
        answer = await client.post(f"{server.http}/api/{method}", json=parameters, headers=headers)
    result: dict[str, Any] = answer.raise_for_status().json()["result"]
    return result


async def test_clients_and_the_back_end_hear_each_other(server: Server, people: Crowd, name: str) -> None:
    """Both publish to a room, and history has both."""
    room = await (await people.connected("alice")).enter(f"room:{name}")

    await room.say({"text": "anybody here?"})
    await call(server, "publish", channel=f"room:{name}", data={"text": "we are"})

    assert await room.hear_each(2) == [{"text": "anybody here?"}, {"text": "we are"}]
    assert (await call(server, "history", channel=f"room:{name}", limit=0))["offset"] == 2


@pytest.mark.parametrize("delta", [None, DeltaType.FOSSIL])
async def test_what_was_missed_is_brought(server: Server, people: Crowd, name: str, delta: DeltaType | None) -> None:
    """In order, as deltas or whole."""
    alice = await people.connected("alice")
    room = await alice.enter(f"room:{name}", delta=delta)
    messages = [{"number": number, "filler": "the same again, " * 30} for number in range(5)]
    await call(server, "publish", channel=f"room:{name}", data=messages[0])
    assert await room.hear() == messages[0]

    await alice.client.disconnect()
    for message in messages[1:4]:
        await call(server, "publish", channel=f"room:{name}", data=message)
    await alice.connect()

    assert (await room.ear.next("subscribed")).recovered
    assert await room.hear_each(3) == messages[1:4]
    await call(server, "publish", channel=f"room:{name}", data=messages[4])
    assert await room.hear() == messages[4]


async def test_each_user_has_a_channel_of_their_own(server: Server, people: Crowd, name: str) -> None:
    """The server subscribes them to it, and only they may publish there beside the back end."""
    alice = await people.connected(name)
    assert (await alice.ear.next("subscribed")).channel == f"#{name}"

    await call(server, "publish", channel=f"#{name}", data="for you")

    assert alice.decode((await alice.ear.next("publication")).pub.data) == "for you"
    refused = await (await people.connected("mallory")).channel(f"#{name}").refused()
    assert refused.code == 103


async def test_who_comes_is_told_to_all(people: Crowd, name: str) -> None:
    """Joins are forced: this SDK asks for them in no other way."""
    alice, bob = await people.connected("alice"), await people.connected("bob")
    room = await alice.enter(f"room:{name}")
    assert (await room.ear.next("join")).info.user == "alice"

    await bob.enter(f"room:{name}")

    assert (await room.ear.next("join")).info.user == "bob"
    assert (await room.subscription.presence_stats()).num_users == 2


async def test_a_protected_channel_asks_for_its_token(people: Crowd, name: str) -> None:
    """Without one 103, with one in."""
    alice = await people.connected("alice")

    assert (await alice.channel(f"vault:{name}").refused()).code == 103
    await alice.enter(f"vault:{name}-2", token=subscription_token("alice", f"vault:{name}-2"))
