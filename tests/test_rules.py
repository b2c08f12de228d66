"""Rules of a channel: who may enter it, by token and by handler, who may publish, and who hears of those who leave."""

from __future__ import annotations

import asyncio
from typing import Any

import jwt
import pytest
from pydantic import BaseModel

from openline import JWT, Allow, DeclarationError, History, Hub, Override, PermissionDenied, Publish, Session
from openline.testing import Refused, VirtualClock, connect
from tests.serving import ended, refused, serving

SECRET = "a secret of the tests, long enough for every hash there is: 0123456789abcdef"


class Said(BaseModel):
    """A message of the tests."""

    author: str
    text: str


def signed(**claims: Any) -> str:
    """Make a token as any other program would."""
    return jwt.encode(claims, SECRET, algorithm="HS256")


ANN = signed(sub="ann")


def club() -> Hub:
    """Give a hub with channels for which clients need a token."""
    hub = Hub(auth=JWT(secret=SECRET, anonymous=True), clock=VirtualClock())
    hub.channel("club:{name}", protected=True, presence=True, history=History())
    hub.channel("room:{name}", presence=True)
    return hub


# --- by token ---------------------------------------------------------------------------------------------------------


async def test_a_protected_channel_is_entered_with_a_token_for_it() -> None:
    """What the token says goes to the others as `chan_info` and to the client as `data`."""
    hub = club()
    async with serving(hub) as app, connect(app, token=ANN) as client:
        token = signed(sub="ann", channel="club:a", info={"seat": 3}, data={"welcome": True})
        result = await client.subscribe("club:a", token=token)

        assert result["data"] == {"welcome": True}
        assert "expires" not in result
        assert await client.presence("club:a") == {
            client.id: {"user": "ann", "client": client.id, "chan_info": {"seat": 3}}
        }


async def test_an_anonymous_client_enters_with_a_token_for_nobody() -> None:
    """Both users are empty, and so the same."""
    async with serving(club()) as app, connect(app) as client:
        assert await client.subscribe("club:a", token=signed(channel="club:a"))


async def test_a_token_may_be_for_one_connection_alone() -> None:
    """Then it names the client's id."""
    async with serving(club()) as app, connect(app, token=ANN) as client:
        token = signed(sub="ann", channel="club:a", client=client.id)

        assert await client.subscribe("club:a", token=token)


@pytest.mark.parametrize(
    ("token", "code"),
    [
        pytest.param("", 103, id="no token"),
        pytest.param("made up", 103, id="no JWT"),
        pytest.param(jwt.encode({"sub": "ann", "channel": "club:a"}, "x" * 64), 103, id="another secret"),
        pytest.param(signed(sub="ann"), 103, id="a connection token"),
        pytest.param(signed(sub="ann", channel="club:a", exp=1_000_000_000), 109, id="an expired token"),
        pytest.param(signed(sub="ann", channel="club:a", nbf=2_000_000_000), 109, id="a token of the future"),
        pytest.param(signed(sub="ann", channel="club:b", exp=1_000_000_000), 109, id="expired, of another channel"),
    ],
)
async def test_a_token_that_is_no_good_is_refused_and_the_connection_stays(token: str, code: int) -> None:
    """109 has the SDK fetch a new one, 103 does not."""
    hub = club()
    async with serving(hub) as app, connect(app, token=ANN) as client:
        assert await refused(client.subscribe("club:a", token=token)) == code
        assert hub.sessions[client.id].channels == frozenset()
        assert await client.presence("room:a") == {}


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"sub": "ann", "channel": "club:b"}, id="another channel"),
        pytest.param({"sub": "bob", "channel": "club:a"}, id="another user"),
        pytest.param({"channel": "club:a"}, id="nobody"),
        pytest.param({"sub": "ann", "channel": "club:a", "client": "x"}, id="another client"),
    ],
)
async def test_somebody_elses_token_ends_the_connection_with_3500(claims: dict[str, str]) -> None:
    """It is a good token in the wrong hands."""
    async with serving(club()) as app, connect(app, token=ANN) as client:
        assert await ended(client.subscribe("club:a", token=signed(**claims))) == 3500


async def test_a_token_shown_at_an_open_channel_is_looked_at_all_the_same() -> None:
    """Nobody shows one for nothing: its info counts, and a bad one is refused."""
    async with serving(club()) as app, connect(app, token=ANN) as client:
        assert await refused(client.subscribe("room:a", token="made up")) == 103
        await client.subscribe("room:a", token=signed(sub="ann", channel="room:a", info=7))

        assert (await client.presence("room:a"))[client.id]["chan_info"] == 7


async def test_a_hub_without_tokens_has_no_use_for_one() -> None:
    """It could not tell a good one: it is refused."""
    hub = Hub()
    hub.channel("room:{name}")
    async with serving(hub) as app, connect(app) as client:
        assert await refused(client.subscribe("room:a", token=ANN)) == 103


async def test_who_has_no_token_may_not_look_into_a_protected_channel_either() -> None:
    """Presence and history are for those inside."""
    async with serving(club()) as app, connect(app, token=ANN) as client:
        assert await refused(client.presence("club:a")) == 103
        assert await refused(client.history("club:a")) == 103
        await client.subscribe("club:a", token=signed(sub="ann", channel="club:a"))
        assert client.id in await client.presence("club:a")


async def test_the_handler_is_asked_after_the_token_and_has_the_last_word() -> None:
    """What it does not say stays as the token says."""
    hub = club()
    guarded = hub.channel("guarded", protected=True, presence=True)
    asked: list[str] = []

    @guarded.on_subscribe
    def decide(session: Session, data: str | None = None) -> Allow | None:
        asked.append(session.user)
        if data == "no":
            raise PermissionDenied
        return Allow(info={"by": "handler"}) if data == "more" else None

    token = signed(sub="ann", channel="guarded", info={"by": "token"}, data="by token")
    async with serving(hub) as app, connect(app, token=ANN) as client:
        assert await refused(client.subscribe("guarded")) == 103
        assert asked == []
        assert await refused(client.subscribe("guarded", token=token, data="no")) == 103
        assert (await client.subscribe("guarded", token=token))["data"] == "by token"
        assert (await client.presence("guarded"))[client.id]["chan_info"] == {"by": "token"}
        await client.unsubscribe("guarded")
        assert (await client.subscribe("guarded", token=token, data="more"))["data"] == "by token"
        assert (await client.presence("guarded"))[client.id]["chan_info"] == {"by": "handler"}


def test_a_protected_channel_needs_a_hub_that_verifies_tokens() -> None:
    """Else nobody could ever enter."""
    with pytest.raises(DeclarationError, match="no auth"):
        Hub().channel("club:{name}", protected=True)


# --- by handler -------------------------------------------------------------------------------------------------------


async def test_the_handler_is_given_the_parts_and_what_it_allows_goes_with_the_subscription() -> None:
    """`info` to the others, `data` to the client."""
    hub = Hub()
    seat = hub.channel("hall:{hall}:seat:{number}", presence=True)

    @seat.on_subscribe
    async def take(hall: str, number: int, session: Session, data: dict[str, str]) -> Allow:
        return Allow(info=[hall, number], data=data)

    async with serving(hub) as app, connect(app) as client:
        assert (await client.subscribe("hall:north:seat:7", data={"for": "ann"}))["data"] == {"for": "ann"}
        assert (await client.presence("hall:north:seat:7"))[client.id]["chan_info"] == ["north", 7]
        assert await refused(client.subscribe("hall:north:seat:seven", data={})) == 102
        assert await refused(client.subscribe("hall:north:seat:8", data=5)) == 107


async def test_a_handler_that_answers_something_else_is_a_fault_of_the_app(caplog: pytest.LogCaptureFixture) -> None:
    """`return True` is no leave to enter: the client is told 100, and the log what may be returned."""
    hub = Hub()
    room = hub.channel("room:{name}")

    @room.on_subscribe
    def wrong() -> bool:
        return True

    async with serving(hub) as app, connect(app) as client:
        assert await refused(client.subscribe("room:a")) == 100
        assert "it returns None or Allow(…), or raises to refuse" in caplog.text


# --- publishing -------------------------------------------------------------------------------------------------------


async def test_who_may_not_enter_a_guarded_channel_may_not_publish_into_it_either() -> None:
    """`publish=True` is for those inside; where nobody guards the entry, it is for everybody."""
    hub = Hub(auth=JWT(secret=SECRET, anonymous=True), clock=VirtualClock())
    hub.channel("protected", protected=True, publish=True)
    hub.channel("open", publish=True)
    guarded = hub.channel("guarded", publish=True)

    @guarded.on_subscribe
    def members(session: Session) -> None:
        if session.user != "ann":
            raise PermissionDenied

    async with serving(hub) as app, connect(app, token=ANN) as ann, connect(app) as stranger:
        assert await stranger.publish("open", 1) == {}
        for channel in ("guarded", "protected"):
            assert await refused(stranger.publish(channel, 1)) == 103
            assert await refused(ann.publish(channel, 1)) == 103
            await ann.subscribe(channel, token=signed(sub="ann", channel=channel))
            assert await ann.publish(channel, 1) == {}


async def test_the_handler_decides_what_is_published() -> None:
    """What it returns; the message as it came, if it returns nothing."""
    hub = Hub()
    room = hub.channel("room:{name}", Said)

    @room.on_publish
    async def said(name: str, message: Said, session: Session) -> Said | None:
        if message.text == "forbidden":
            raise PermissionDenied("not here")
        return message.model_copy(update={"author": "somebody"}) if name == "masked" else None

    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("room:a")
        await client.subscribe("room:masked")
        await client.publish("room:a", {"author": "ann", "text": "hi", "extra": 1})
        assert (await client.publication())["data"] == {"author": "ann", "text": "hi"}
        await client.publish("room:masked", {"author": "ann", "text": "hi"})
        assert (await client.publication())["data"] == {"author": "somebody", "text": "hi"}
        assert await refused(client.publish("room:a", {"author": "ann", "text": "forbidden"})) == 103
        assert await refused(client.publish("room:a", {"author": "ann"})) == 107


async def test_a_handler_that_returns_another_type_is_a_fault_of_the_app(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is published that is not of the declared type."""
    hub = Hub()
    room = hub.channel("room:{name}", Said)

    @room.on_publish
    def wrong(message: Said) -> Any:
        return 42

    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("room:a")
        assert await refused(client.publish("room:a", {"author": "ann", "text": "hi"})) == 100
        assert "int cannot be sent as a message of type Said" in caplog.text
        await client.unsubscribe("room:a")
        assert client.waiting() == []


async def test_what_a_handler_makes_may_be_too_big() -> None:
    """The client is told the sizes; nothing was sent."""
    hub = Hub()
    room = hub.channel("room:{name}", str)

    @room.on_publish
    def grow(message: str) -> str:
        return message * 70_000

    async with serving(hub) as app, connect(app) as client:
        assert await refused(client.publish("room:a", "x")) == 107


# --- leaving ----------------------------------------------------------------------------------------------------------


def listening() -> tuple[Hub, asyncio.Queue[tuple[str, str, int, str]]]:
    """Give a hub and the queue in which a channel notes who left it, and why."""
    hub, heard = Hub(), asyncio.Queue[tuple[str, str, int, str]]()
    room = hub.channel("room:{name}")

    @room.on_unsubscribe
    async def left(name: str, session: Session, code: int, reason: str) -> None:
        heard.put_nowait((name, session.id, code, reason))

    return hub, heard


async def test_a_channel_hears_of_those_who_leave_once_with_the_reason() -> None:
    """By the client, by the server, with the connection."""
    hub, heard = listening()
    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("room:a")
        await client.unsubscribe("room:a")
        assert await asyncio.wait_for(heard.get(), 5) == ("a", client.id, 0, "unsubscribed by the client")

        await client.subscribe("room:b")
        await hub.sessions[client.id].unsubscribe("room:b")
        assert await asyncio.wait_for(heard.get(), 5) == ("b", client.id, 2000, "server unsubscribe")

        await client.subscribe("room:c")
        await client.subscribe("room:d")
        client.cut()
        assert await asyncio.wait_for(heard.get(), 5) == ("c", client.id, 1006, "connection closed")
        assert await asyncio.wait_for(heard.get(), 5) == ("d", client.id, 1006, "connection closed")
    assert heard.empty()


async def test_nothing_is_heard_of_those_who_were_not_in() -> None:
    """Refused, or never there."""
    hub, heard = listening()
    async with serving(hub) as app, connect(app) as client:
        await client.unsubscribe("room:a")
        await client.subscribe("room:a")
        assert await refused(client.subscribe("room:a")) == 105
        await hub.sessions[client.id].unsubscribe("room:b")
    assert [item[0] for item in iter_queue(heard)] == ["a"]


async def test_a_handler_of_leaving_that_fails_does_not_keep_anyone_in(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for an answer of it: it is logged and counted, and the others are called all the same."""
    hub = Hub()
    room = hub.channel("room:{name}", presence=True)

    @room.on_unsubscribe
    def fail(name: str) -> None:
        raise RuntimeError(f"cannot forget {name}")

    async with serving(hub) as app, connect(app) as witness, connect(app) as client:
        await client.subscribe("room:a")
        await client.subscribe("room:b")
        assert await client.unsubscribe("room:a") == {}
        assert await witness.presence("room:a") == {}
    assert hub.counters.handler_errors == 2
    assert "RuntimeError: cannot forget a" in caplog.text
    assert "RuntimeError: cannot forget b" in caplog.text


def iter_queue(queue: asyncio.Queue[Any]) -> list[Any]:
    """Give what is in a queue."""
    return [queue.get_nowait() for _ in range(queue.qsize())]


async def test_who_was_not_let_in_may_not_publish_either() -> None:
    """Where subscribing is guarded, a message from outside is refused before its handler is asked."""
    hub = Hub()
    asked: list[str] = []
    guarded = hub.channel("guarded")

    @guarded.on_subscribe
    async def enter() -> None:
        """Anyone who asks."""

    @guarded.on_publish
    async def said(message: object) -> None:
        asked.append("publish")

    async with serving(hub) as app, connect(app) as client:
        with pytest.raises(Refused, match="only those in this channel may publish") as outside:
            await client.publish("guarded", 1)
        assert outside.value.code == 103
        assert asked == []
        await client.subscribe("guarded")
        await client.publish("guarded", 1)
        assert asked == ["publish"]


# --- what handlers may say beside -------------------------------------------------------------------------------------


async def test_without_auth_a_token_is_for_the_handler_to_read() -> None:
    """As with `on_connect`; with auth it is verified first, and the handler is given it all the same."""
    hub = Hub()
    room = hub.channel("room:{name}")
    shown: list[str] = []

    @room.on_subscribe
    def keep(token: str) -> None:
        shown.append(token)

    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("room:a", token="of my own")
        await client.subscribe("room:b")
    assert shown == ["of my own", ""]


async def test_a_handler_may_change_what_is_declared_for_one_subscription() -> None:
    """`Override`, as a token may; the handler has the last word."""
    hub = Hub()
    room = hub.channel("room:{name}", presence=True)
    room.on_subscribe(lambda name: Allow(override=Override(presence=name != "quiet")))
    async with serving(hub) as app, connect(app) as client:
        for name, there in (("quiet", False), ("loud", True)):
            await client.subscribe(f"room:{name}")
            assert (client.id in await client.presence(f"room:{name}")) is there


async def test_a_handler_may_say_how_a_message_is_published() -> None:
    """With its own message or the one that came: tags, what is kept, and what was published before."""
    hub = Hub()
    room = hub.channel("room:{name}", Said, history=History())

    @room.on_publish
    def how(message: Said) -> Publish:
        if message.text == "twice":
            return Publish(idempotency_key="k")
        if message.text == "gone":
            return Publish(skip_history=True)
        return Publish(message.model_copy(update={"author": "ann"}), tags={"lang": "en"})

    async with serving(hub) as app, connect(app) as client:
        await client.subscribe("room:a")
        for text in ("hello", "gone", "twice", "twice"):
            await client.publish("room:a", {"author": "?", "text": text})
        first = await client.publication("room:a")
        assert (first["data"], first["tags"]) == ({"author": "ann", "text": "hello"}, {"lang": "en"})
        page = await room.history(name="a")
        assert [kept.message.text for kept in page.publications] == ["hello", "twice"]


@pytest.mark.parametrize(("protobuf", "ends"), [(True, False), (False, True)])
async def test_bytes_for_one_client_go_as_they_are_if_its_codec_carries_them(protobuf: bool, ends: bool) -> None:
    """JSON has no place for what is none: 3506."""
    hub = Hub()
    room = hub.channel("room:{name}")
    room.on_subscribe(lambda name: Allow(data=b"[1,\n2]" if name == "json" else b"\xff"))
    async with serving(hub) as app, connect(app, protobuf=protobuf) as client:
        assert (await client.subscribe("room:json"))["data"] == [1, 2]
        if ends:
            assert await ended(client.subscribe("room:bytes")) == 3506
        else:
            assert (await client.subscribe("room:bytes"))["data"] == b"\xff"
