"""The program of the design page runs as written."""

from __future__ import annotations

from httpx2 import ASGITransport, AsyncClient

from openline import JWT
from openline.testing import connect, started
from tests.program import Database, app, hub
from tests.serving import nothing_is_left, refused


def token(user: str) -> str:
    """Make a connection token as the app's login would."""
    return JWT(secret="change me").sign(user, expires_in=60)


async def test_members_enter_and_others_do_not() -> None:
    """By the database, which is open for the length of a call."""
    async with started(app):
        async with connect(app, token=token("ann")) as ann, connect(app) as stranger:
            assert (await ann.subscribe("room:lobby"))["recoverable"]
            assert await refused(ann.subscribe("room:hall")) == 103
            assert await refused(stranger.subscribe("room:lobby")) == 103
            assert await stranger.subscribe("room:hall")
            assert await refused(ann.subscribe("lobby")) == 102
            assert Database.opened == 0
        await nothing_is_left(hub)


async def test_what_is_said_is_said_in_ones_own_name_and_who_comes_later_hears_it() -> None:
    """The handler has the last word on a message; history keeps it."""
    async with started(app):
        async with connect(app, token=token("ann")) as ann, connect(app, token=token("bob")) as bob:
            await ann.subscribe("room:lobby")
            await ann.publish("room:lobby", {"author": "bob", "text": "hi"})
            await bob.subscribe("room:lobby")

            assert (await ann.publication())["data"] == {"author": "ann", "text": "hi"}
            assert (await bob.history("room:lobby"))["publications"][-1]["data"] == {"author": "ann", "text": "hi"}
            assert await refused(ann.publish("room:lobby", {"author": "ann"})) == 107
            assert await ann.publish("room:lobby", {"author": "ann", "text": "still here"}) == {}
            assert {info["user"] for info in (await bob.presence("room:lobby")).values()} == {"ann", "bob"}
            assert await bob.rpc("rooms.list") == ["lobby", "hall"]
        await nothing_is_left(hub)


async def test_a_route_of_the_app_publishes() -> None:
    """To everybody in the room."""
    async with started(app), connect(app, token=token("ann")) as ann:
        await ann.subscribe("room:lobby")
        async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as http:
            posted = await http.post("/rooms/lobby", json={"author": "the house", "text": "closing time"})
            refused_ = await http.post("/rooms/lobby", json={"author": "the house"})

        assert (posted.status_code, refused_.status_code) == (200, 422)
        assert (await ann.publication())["data"] == {"author": "the house", "text": "closing time"}
