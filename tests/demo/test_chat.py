"""The chat's hub: what a client may do in it, and what it is told."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import jwt
import pytest

from openline.demo.app import app
from openline.demo.rooms import FIRST
from openline.demo.visitors import ALGORITHM, SECRET
from openline.testing import Client, Closed, Refused, connect, started

Enter = Callable[[str], AbstractAsyncContextManager[Client]]


@pytest.fixture
async def enter() -> AsyncIterator[Enter]:
    """The started chat; come in under a name."""

    def come_in(name: str) -> AbstractAsyncContextManager[Client]:
        claims = {"sub": name.lower(), "exp": time.time() + 60, "info": {"name": name}}
        return connect(app, token=jwt.encode(claims, SECRET, ALGORITHM))

    async with started(app):
        yield come_in


async def test_author_is_stamped_by_the_server(enter: Enter) -> None:
    """A client may claim to be anybody; the room reads who it is."""
    async with enter("Ada") as ada, enter("Grace") as grace:
        await grace.subscribe("room:lobby")
        await ada.subscribe("room:lobby")
        await ada.publish("room:lobby", {"text": " Hello ", "key": "1", "author": "Grace", "user": "grace", "at_ms": 5})

        said = (await grace.publication("room:lobby"))["data"]

    assert said["text"] == "Hello"
    assert said["key"] == "1"
    assert (said["user"], said["author"]) == ("ada", "Ada")
    assert said["at_ms"] > 1_700_000_000_000


@pytest.mark.parametrize("text", ["", "   ", "x" * 2001])
async def test_message_has_to_fit(enter: Enter, text: str) -> None:
    """Nothing, or too much, is refused with the field's name, and the connection stays."""
    async with enter("Ada") as ada:
        await ada.subscribe("room:lobby")
        with pytest.raises(Refused, match="text") as refused:
            await ada.publish("room:lobby", {"text": text, "key": "1"})

        assert refused.value.code == 107
        assert await ada.rpc("ping") == {}


async def test_first_to_enter_opens_the_room(enter: Enter) -> None:
    """Whoever looks at the list hears of a new room, and the list has it from then on."""
    name = f"attic-{uuid.uuid4().hex[:8]}"
    async with enter("Ada") as ada, enter("Grace") as grace:
        await grace.subscribe("rooms")
        await ada.subscribe(f"room:{name}")

        assert (await grace.publication("rooms"))["data"] == {"name": name}
        listed = await grace.rpc("rooms.list")
    assert listed[: len(FIRST)] == list(FIRST)
    assert listed[-1] == name


async def test_name_that_is_none_is_refused(enter: Enter) -> None:
    """The refusal says what a room's name is."""
    async with enter("Ada") as ada:
        with pytest.raises(Refused, match="small letters") as refused:
            await ada.subscribe("room:The-Attic")

        assert refused.value.code == 107


async def test_nobody_but_the_server_announces_rooms(enter: Enter) -> None:
    """The channel of news is not for clients to publish in."""
    async with enter("Ada") as ada:
        with pytest.raises(Refused) as refused:
            await ada.publish("rooms", {"name": "nowhere"})

        assert refused.value.code == 103


async def test_typing_carries_who_and_is_not_kept(enter: Enter) -> None:
    """The hub says who types; there is no history of it."""
    async with enter("Ada") as ada, enter("Grace") as grace:
        await grace.subscribe("typing:lobby")
        await ada.publish("typing:lobby", {})

        assert (await grace.publication("typing:lobby"))["info"]["conn_info"] == {"name": "Ada"}
        with pytest.raises(Refused) as refused:
            await grace.command("history", channel="typing:lobby")
        assert refused.value.code == 108


@pytest.mark.usefixtures("enter")
async def test_nobody_comes_in_without_a_token() -> None:
    """The door is the token route; the hub takes nobody else."""
    with pytest.raises(Closed) as closed:
        async with connect(app):
            pass

    assert closed.value.code == 3501
