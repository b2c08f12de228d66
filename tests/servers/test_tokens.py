"""Tokens that run out and are renewed, on every server, with the Python SDK in both its modes."""

from __future__ import annotations

import asyncio

from tests.servers.control import Control
from tests.servers.login import connection_token, subscription_token
from tests.servers.people import LIMIT_SECONDS, Crowd


class Desk:
    """Where a client fetches its tokens: the first is good for a moment, those after it for a minute."""

    def __init__(self, user: str) -> None:
        self.visits = 0
        self._user = user
        self._visited = asyncio.Condition()

    async def connection(self) -> str:
        """Hand out a connection token."""
        return connection_token(self._user, expires_in=await self._count())

    async def subscription(self, channel: str) -> str:
        """Hand out a subscription token."""
        return subscription_token(self._user, channel, expires_in=await self._count())

    async def _count(self) -> float:
        async with self._visited:
            self.visits += 1
            self._visited.notify_all()
        return 0.9 if self.visits == 1 else 60

    async def visited(self, times: int) -> None:
        """Wait until this many tokens were fetched."""
        async with asyncio.timeout(LIMIT_SECONDS), self._visited:
            await self._visited.wait_for(lambda: self.visits >= times)


async def test_tokens_are_renewed_while_the_line_stays(people: Crowd, name: str) -> None:
    """Connection and subscription, each by a token for under a second: the SDK fetches new ones, nothing breaks."""
    connection, subscription = Desk("alice"), Desk("alice")
    alice = people.person("alice", token="", get_token=connection.connection)
    before = await alice.connect()
    vault = await alice.enter(f"vault:{name}", get_token=subscription.subscription)

    await connection.visited(2)
    await subscription.visited(2)
    for _ in range(2):  # behind the second the server has answered whatever the SDK sent with its tokens
        await vault.say("still here")

    assert await vault.hear_each(2) == ["still here"] * 2
    assert alice.client.client_id == before.client
    assert alice.ear.heard("error") == vault.ear.heard("error") == []


async def test_a_protected_channel_wants_a_token(people: Crowd, name: str) -> None:
    """Without one the refusal is 103; with one of the user's own for this channel the door opens."""
    alice = await people.connected("alice")
    refused = await alice.channel(f"vault:{name}").refused()

    other = await alice.enter(f"vault:{name}-2", token=subscription_token("alice", f"vault:{name}-2", expires_in=60))

    assert refused.code == 103
    assert other.subscription.state.value == "subscribed"


async def test_somebody_elses_subscription_token_ends_the_connection(people: Crowd, name: str) -> None:
    """The token is genuine and for another user: 3500, and the client stays away."""
    alice = await people.connected("alice")
    stolen = subscription_token("bob", f"vault:{name}", expires_in=60)

    await alice.channel(f"vault:{name}", token=stolen).subscription.subscribe()

    assert (await alice.ear.next("disconnected")).code == 3500


async def test_a_connection_nobody_renews_ends_with_3005(people: Crowd) -> None:
    """The SDK comes back, is told that its token has expired (109), has none to fetch and stays away."""
    alice = await people.connected("alice", hasty=True, expires_in=0.9)

    ended, refused = await alice.ear.next("connecting"), await alice.ear.next("error")
    away = await alice.ear.next("disconnected")

    assert (ended.code, ended.reason) == (3005, "connection expired")
    assert refused.error.code == 109
    assert (away.code, away.reason) == (1, "unauthorized")


async def test_an_expired_token_sends_the_client_for_a_new_one(people: Crowd) -> None:
    """109 at the connect: the SDK fetches a token and connects with it."""
    desk = Desk("alice")
    alice = people.person("alice", expires_in=-1, get_token=desk.connection)

    await alice.connect()

    assert desk.visits == 1


async def test_a_token_of_another_issuer_is_refused_for_good(people: Crowd) -> None:
    """A signature by nobody we know: 3500, and the client stays away."""
    header, payload, _ = connection_token("alice", expires_in=60).split(".")
    alice = people.person("alice", token=f"{header}.{payload}.{'A' * 43}")

    await alice.client.connect()

    assert (await alice.ear.next("disconnected")).code == 3500


async def test_a_token_says_who_one_is(people: Crowd, control: Control, name: str) -> None:
    """What the program stamps on a message is the user of the token."""
    bob = await people.connected("bob")
    room = await bob.enter(f"room:{name}")

    await room.say({"author": "alice", "text": "hello"})

    assert (await room.hear())["author"] == "bob"
