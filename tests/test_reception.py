"""Reception: who is let in, by token and by handler, and what a hub hears of those who leave."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from fastapi import HTTPException

from openline import JWT, Accept, Allow, DeclarationError, History, Hub, Override, Session, codes
from openline.testing import Refused, VirtualClock, connect, line
from tests.serving import ended, refused, serving

SECRET = "a secret of the tests, long enough for every hash there is: 0123456789abcdef"


def signed(**claims: Any) -> str:
    """Make a token as any other program would."""
    return jwt.encode(claims, SECRET, algorithm="HS256")


def hub_with_tokens(clock: VirtualClock, *, anonymous: bool = False) -> Hub:
    """Give a hub whose clients show tokens, with a room for them."""
    hub = Hub(auth=JWT(secret=SECRET, anonymous=anonymous), clock=clock)
    hub.channel("room:{name}", history=History(), presence=True, join_leave=True, publish=True)
    return hub


# --- by token ---------------------------------------------------------------------------------------------------------


async def test_a_hub_with_neither_tokens_nor_handler_lets_everybody_in_as_anonymous() -> None:
    """A token means nothing to it."""
    hub = Hub()
    async with serving(hub) as app, connect(app, token="whatever") as client:
        assert hub.sessions[client.id].user == ""


async def test_without_a_token_a_client_is_closed_with_3501() -> None:
    """The hub wants one, and the client did not even try."""
    async with serving(hub_with_tokens(VirtualClock())) as app, line(app) as client:
        assert await ended(client.connect()) == 3501


async def test_where_anonymous_clients_are_let_in_a_token_may_be_missing_but_not_bad() -> None:
    """Without a token a client is nobody; with one it has to be right."""
    hub = hub_with_tokens(VirtualClock(), anonymous=True)
    async with serving(hub) as app, connect(app) as client, line(app) as liar:
        assert hub.sessions[client.id].user == ""
        assert await ended(liar.connect(token="made up")) == 3500


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("made up", id="no token"),
        pytest.param(jwt.encode({"sub": "ann"}, "another secret" * 5, algorithm="HS256"), id="another secret"),
        pytest.param(jwt.encode({"sub": "ann"}, "", algorithm="none"), id="not signed"),
        pytest.param(signed(sub=42), id="a user that is no text"),
        pytest.param(signed(sub="ann", channel="room:a"), id="a subscription token"),
        pytest.param(signed(sub="ann", channels="room:a"), id="channels that are no list"),
        pytest.param(signed(sub="ann", exp="soon"), id="an expiry that is no number"),
    ],
)
async def test_a_token_that_cannot_be_used_closes_with_3500(token: str) -> None:
    """The client stays away: the same token will be no better."""
    async with serving(hub_with_tokens(VirtualClock())) as app, line(app) as client:
        assert await ended(client.connect(token=token)) == 3500


async def test_an_expired_token_is_error_109_and_the_client_comes_with_a_new_one() -> None:
    """An error and no close: SDKs fetch a new token on it, and open a new connection."""
    clock = VirtualClock()
    async with serving(hub_with_tokens(clock)) as app, line(app) as client:
        assert await refused(client.connect(token=signed(sub="ann", exp=clock.wall() - 1))) == 109
        assert not client.is_closed


async def test_a_token_says_who_the_client_is_and_what_others_see_of_it() -> None:
    """`info` stands in presence, joins and publications of every channel."""
    hub = hub_with_tokens(VirtualClock())
    token = signed(sub="ann", info={"name": "Ann"})
    async with serving(hub) as app, connect(app, token=token) as ann, connect(app, token=signed(sub="bob")) as bob:
        shown = {"user": "ann", "client": ann.id, "conn_info": {"name": "Ann"}}
        await bob.subscribe("room:a", join_leave=True)
        await ann.subscribe("room:a")
        await ann.publish("room:a", "hi")

        assert (await bob.presence("room:a"))[ann.id] == shown
        assert [push["join"]["info"] for push in (await bob.push(), await bob.push())][1] == shown
        assert (await bob.publication())["info"] == shown
        assert (await bob.history("room:a"))["publications"][0]["info"] == shown
        assert hub.sessions[ann.id].info == {"name": "Ann"}


async def test_the_channels_of_a_token_are_subscriptions_the_client_begins_with() -> None:
    """`channels` names them; `subs` says more of each: info for the others and data for the client."""
    hub = hub_with_tokens(VirtualClock())
    token = signed(sub="ann", channels=["room:a"], subs={"room:b": {"info": {"seat": 3}, "data": "welcome"}})
    async with serving(hub) as app, line(app) as client:
        result = await client.connect(token=token)

        assert set(result["subs"]) == {"room:a", "room:b"}
        assert result["subs"]["room:b"]["data"] == "welcome"
        assert (await client.presence("room:b"))[client.id]["chan_info"] == {"seat": 3}
        assert "chan_info" not in (await client.presence("room:a"))[client.id]


async def test_a_token_with_an_expiry_is_answered_with_the_time_that_is_left() -> None:
    """Whole seconds, rounded up: `ttl` never comes without `expires`, nor the other way round."""
    clock = VirtualClock()
    async with serving(hub_with_tokens(clock)) as app, line(app) as client:
        result = await client.connect(token=signed(sub="ann", exp=clock.wall() + 59.5))

        assert (result["expires"], result["ttl"]) == (True, 60)


async def test_expire_at_has_the_say_over_the_connection_and_exp_over_the_token() -> None:
    """0 is for ever; but `exp` is checked all the same."""
    clock = VirtualClock()
    now = clock.wall()
    async with serving(hub_with_tokens(clock)) as app, line(app) as long, line(app) as forever, line(app) as late:
        assert (await long.connect(token=signed(exp=now + 60, expire_at=now + 600)))["ttl"] == 600
        assert "expires" not in await forever.connect(token=signed(exp=now + 60, expire_at=0))
        assert await refused(late.connect(token=signed(exp=now - 1, expire_at=0))) == 109


async def test_a_connection_that_would_have_expired_already_is_error_110() -> None:
    """The token is good, and says that the connection is over."""
    clock = VirtualClock()
    async with serving(hub_with_tokens(clock)) as app, line(app) as client:
        assert await refused(client.connect(token=signed(sub="ann", expire_at=clock.wall() - 1))) == 110


async def test_the_time_left_is_cut_to_a_year() -> None:
    """Clients keep it in a timer of 32 bits."""
    clock = VirtualClock()
    async with serving(hub_with_tokens(clock)) as app, line(app) as client:
        result = await client.connect(token=signed(sub="ann", exp=clock.wall() + 10**10))

        assert result["ttl"] == 365 * 24 * 3600


# --- by handler -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answer", "user"), [(None, ""), ("ann", "ann"), (Accept(), ""), (Accept(user="bob"), "bob")])
async def test_the_handler_says_who_it_is(answer: Any, user: str) -> None:
    """None is anonymous."""
    hub = Hub()

    @hub.on_connect
    def who() -> Any:
        return answer

    async with serving(hub) as app, connect(app) as client:
        assert hub.sessions[client.id].user == user
        assert [session.id for session in hub.user(user).sessions] == [client.id]


async def test_after_a_token_the_handler_has_the_last_word() -> None:
    """It sees who the token says, and what it does not say itself stays."""
    clock = VirtualClock()
    hub = hub_with_tokens(clock)
    seen: list[tuple[str, Any]] = []

    @hub.on_connect
    async def more(session: Session) -> Accept | None:
        seen.append((session.user, session.info))
        return Accept(info={"name": "Dr. Ann"}, channels=["room:b"]) if session.user == "ann" else None

    async with serving(hub) as app, line(app) as ann, line(app) as bob:
        result = await ann.connect(token=signed(sub="ann", info="Ann", channels=["room:a"], exp=clock.wall() + 60))
        await bob.connect(token=signed(sub="bob", info="Bob"))

        assert seen == [("ann", "Ann"), ("bob", "Bob")]
        assert hub.sessions[ann.id].user == "ann"
        assert hub.sessions[ann.id].info == {"name": "Dr. Ann"}
        assert hub.sessions[bob.id].info == "Bob"
        assert set(result["subs"]) == {"room:a", "room:b"}
        assert result["ttl"] == 60


async def test_the_handler_is_not_asked_about_a_client_whose_token_is_no_good() -> None:
    """Whoever wrote it may rely on the user it sees."""
    hub = hub_with_tokens(VirtualClock())
    asked = []

    @hub.on_connect
    def ask() -> None:
        asked.append(1)

    async with serving(hub) as app, line(app) as liar, line(app) as nobody:
        assert await ended(liar.connect(token="made up")) == 3500
        assert await ended(nobody.connect()) == 3501
        assert asked == []


async def test_an_expiry_of_the_handlers_is_not_told_to_the_client() -> None:
    """The client has no token to renew it with: at that moment it is closed with 3005, and comes back by itself."""
    clock = VirtualClock()
    hub = Hub(clock=clock)

    @hub.on_connect
    def for_a_minute() -> Accept:
        return Accept(user="ann", expire_at=datetime.fromtimestamp(clock.wall() + 60, UTC))

    async with serving(hub) as app, line(app) as client:
        result = await client.connect()
        assert "expires" not in result
        assert "ttl" not in result
        await clock.advance(59.5)
        assert not client.is_closed
        await clock.advance(1)

        assert (await client.closed()).code == 3005


async def test_an_expiry_of_the_handlers_that_has_passed_is_error_110() -> None:
    """As with a token."""
    clock = VirtualClock()
    hub = Hub(clock=clock)

    @hub.on_connect
    def too_late() -> Accept:
        return Accept(expire_at=clock.wall() - 1)

    async with serving(hub) as app, line(app) as client:
        assert await refused(client.connect()) == 110


@pytest.mark.parametrize("answer", [42, b"ann", ["ann"], {"user": "ann"}, True])
async def test_a_handler_that_answers_something_else_is_a_fault_of_the_app(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The client is told 100, and the log what may be returned."""
    hub = Hub()

    @hub.on_connect
    def wrong() -> Any:
        return answer

    async with serving(hub) as app, line(app) as client:
        assert await refused(client.connect()) == 100
        assert "it returns None, a user id, or Accept" in caplog.text


# --- those who leave --------------------------------------------------------------------------------------------------


def listening() -> tuple[Hub, asyncio.Queue[tuple[str, str, int, str]]]:
    """Give a hub and the queue in which it notes whom it lost, and why."""
    hub, heard = Hub(), asyncio.Queue[tuple[str, str, int, str]]()

    @hub.on_connect
    def who(name: str) -> str | None:
        return name or None

    @hub.on_disconnect
    async def hear(session: Session, code: int, reason: str) -> None:
        heard.put_nowait((session.id, session.user, code, reason))

    return hub, heard


async def test_the_hub_hears_of_a_connection_that_was_cut_once() -> None:
    """With the code of a line that broke."""
    hub, heard = listening()
    async with serving(hub) as app:
        async with connect(app, name="ann") as client:
            client.cut()
        assert await asyncio.wait_for(heard.get(), 5) == (client.id, "ann", 1006, "connection closed")
    assert heard.empty()


async def test_the_hub_hears_with_which_code_a_client_left() -> None:
    """As the client gave it."""
    hub, heard = listening()
    async with serving(hub) as app, connect(app, name="ann") as client:
        client.close(1001)

        assert (await asyncio.wait_for(heard.get(), 5))[2] == 1001


async def test_the_hub_hears_of_a_connection_it_closed_itself_once() -> None:
    """With the code and reason it was closed with."""
    hub, heard = listening()
    async with serving(hub) as app, connect(app, name="ann") as client:
        hub.sessions[client.id].disconnect(codes.CLOSED_FORCE_RECONNECT, "moving house")
        assert (await client.closed()).code == 3011
        assert await asyncio.wait_for(heard.get(), 5) == (client.id, "ann", 3011, "moving house")
    assert heard.empty()


async def test_the_hub_hears_of_its_clients_as_it_stops() -> None:
    """They are closed with 3001, and stopping waits for the handlers: what these need is still there."""
    hub, heard = listening()
    async with AsyncExitStack() as clients:
        async with serving(hub, left_open=True) as app:
            client = await clients.enter_async_context(connect(app, name="ann"))
        assert heard.get_nowait() == (client.id, "ann", 3001, "shutdown")
        assert (await client.closed()).code == 3001
    assert heard.empty()


async def test_nothing_is_heard_of_a_connection_that_was_never_let_in() -> None:
    """`on_disconnect` is for those whose connect was accepted."""
    hub, heard = listening()
    async with serving(hub) as app:
        async with line(app) as client:
            client.send_frame("junk")
            await client.closed()
        async with line(app):
            pass
    assert heard.empty()


async def test_a_disconnect_handler_that_fails_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for an answer of it; the hub goes on."""
    hub = Hub()

    @hub.on_disconnect
    def fail() -> None:
        raise RuntimeError("the database is away")

    async with serving(hub) as app:
        async with connect(app):
            pass
        async with connect(app):
            pass
    assert hub.counters.handler_errors == 2
    assert caplog.text.count("RuntimeError: the database is away") == 2


async def test_what_a_hub_does_for_those_who_leave_may_publish_even_as_it_stops() -> None:
    """The broker goes last."""
    hub = Hub(clock=VirtualClock())
    news = hub.channel("news", history=History())
    tops: list[int] = []

    @hub.on_disconnect
    async def tell(session: Session) -> None:
        tops.append((await news.publish(f"{session.user} left")).offset)

    async with AsyncExitStack() as clients, serving(hub, left_open=True) as app:
        for _ in range(3):
            await clients.enter_async_context(connect(app))

    assert tops == [1, 2, 3]


async def test_a_handler_may_end_the_session_it_decides_on() -> None:
    """Then nothing comes of what it was asked for, and nothing is left of it."""
    hub = Hub()
    room = hub.channel("room:{name}", history=History(), presence=True, join_leave=True)

    @hub.on_connect
    async def who(session: Session, name: str) -> Accept:
        if name == "unwanted":
            session.disconnect(4001, "unwanted")
        return Accept(channels=["room:hall"])

    @room.on_subscribe
    async def enter(session: Session) -> None:
        session.disconnect(4002, "no entry")

    async with serving(hub) as app, line(app) as one, line(app) as two:
        assert await ended(one.connect(name="unwanted")) == 4001
        await two.connect()
        assert await ended(two.subscribe("room:a")) == 4002
        assert await room.presence(name="hall") == {}


# --- declarations -----------------------------------------------------------------------------------------------------


def test_there_is_one_handler_of_each_event() -> None:
    """A second one would silently win or lose."""
    hub = Hub()

    def first() -> None:
        """Handle anything."""

    for declare in (hub.on_connect, hub.on_disconnect, hub.on_message, hub.rpc("x")):
        declare(first)
        with pytest.raises(DeclarationError, match="already"):
            declare(first)
    hub.rpc("y")(first)


def test_a_fixed_channel_goes_before_every_pattern_and_of_patterns_the_earlier() -> None:
    """Whatever the order of declaration."""
    hub = Hub()
    hub.channel("room:{name}")
    hub.channel("{anything:path}")
    hub.channel("room:lobby")

    def pattern(channel: str) -> str:
        found = hub._reception.rules(channel)
        return "" if found is None else found.pattern.text

    assert pattern("room:lobby") == "room:lobby"
    assert pattern("room:a") == "room:{name}"
    assert pattern("room:a:b") == "{anything:path}"


def test_two_patterns_of_one_shape_cannot_be_told_apart() -> None:
    """The second would never be asked."""
    hub = Hub()
    hub.channel("room:{name}")
    with pytest.raises(DeclarationError, match="declared twice"):
        hub.channel("room:{number}")


async def test_names_that_clients_make_up_do_not_fill_the_memory() -> None:
    """What is remembered of names is bounded in number, and long ones are not remembered at all."""
    hub = Hub()
    hub.channel("room:{name}", publish=True)
    async with serving(hub) as app, connect(app) as client:
        for number in range(20):
            await refused(client.publish(f"{number}" * 20_000, 1))

        assert sum(map(len, hub._reception._found)) < 10_000


async def test_half_characters_reach_nobody() -> None:
    """A file name in an error, an id made of bytes: what is no text is mended in errors and refused in ids."""
    hub = Hub()

    @hub.on_connect
    async def come(data: dict[str, str] | None = None) -> str:
        return (data or {}).get("user", "ann") + ("\udc80" if data else "")

    @hub.rpc("open")
    async def open_file() -> None:
        raise HTTPException(404, detail="no file \udcff")

    async with serving(hub) as app:
        async with connect(app) as client:
            with pytest.raises(Refused, match=r"no file \?"):
                await client.rpc("open")
            assert await refused(client.rpc("nothing")) == 104
        async with line(app) as other:
            assert await refused(other.connect(data={"user": "evil"})) == 100


# --- what handlers may say beside -------------------------------------------------------------------------------------


async def test_a_handler_says_more_of_the_subscriptions_a_client_begins_with() -> None:
    """What each is shown with, what the client is given, and what is otherwise than declared."""
    hub = Hub()
    hub.channel("room:{name}", presence=True)

    @hub.on_connect
    def let_in() -> Accept:
        quiet = Allow(override=Override(presence=False))
        seated = Allow(info={"seat": 1}, data="welcome")
        return Accept(user="ann", channels=["room:a"], subscriptions={"room:b": seated, "room:c": quiet})

    async with serving(hub) as app, line(app) as client:
        result = await client.connect()
        assert set(result["subs"]) == {"room:a", "room:b", "room:c"}
        assert result["subs"]["room:b"]["data"] == "welcome"
        assert (await client.presence("room:b"))[client.id]["chan_info"] == {"seat": 1}
        assert await client.presence("room:c") == {}


async def test_meta_of_a_handler_is_for_the_app_alone_and_goes_before_that_of_a_token() -> None:
    """No client is ever shown it."""
    hub = hub_with_tokens(VirtualClock())

    @hub.on_connect
    def let_in(session: Session) -> Accept:
        return Accept(meta=None if session.user == "bob" else {"plan": "paid"})

    async with serving(hub) as app:
        for user, plan in (("ann", "paid"), ("bob", "free")):
            async with connect(app, token=signed(sub=user, meta={"plan": "free"})) as client:
                assert hub.sessions[client.id].meta == {"plan": plan}
                assert "plan" not in str(client.frames)


async def test_a_handler_is_given_the_headers_and_the_channels_of_the_connect_command() -> None:
    """What a page writes there in place of headers, and where it stands in channels of the server's."""
    hub = Hub()
    given: list[object] = []

    @hub.on_connect
    def let_in(headers: dict[str, str], channels: list[str]) -> None:
        given.extend((headers, channels))

    async with serving(hub) as app, line(app) as client:
        await client.connect(headers={"X-Tenant": "acme"}, subs={"room:a": {}})
    assert given == [{"X-Tenant": "acme"}, ["room:a"]]


async def test_one_procedure_may_answer_every_method_without_its_own() -> None:
    """It is told which."""
    hub = Hub()

    @hub.rpc("known")
    async def known() -> str:
        return "its own"

    @hub.rpc()
    async def any_other(method: str, message: int) -> str:
        return f"{method} {message}"

    async with serving(hub) as app, connect(app) as client:
        assert await client.rpc("known", None) == "its own"
        assert await client.rpc("other", 7) == "other 7"
    with pytest.raises(DeclarationError, match="already"):
        hub.rpc()(lambda: None)


async def test_a_procedure_of_bytes_gives_a_json_client_json() -> None:
    """On one line; what is no JSON ends its connection with 3506."""
    hub = Hub()

    @hub.rpc("bytes")
    async def answer(message: bytes) -> bytes:
        return b"[1,\n2]" if message == b'"json"' else b"\xff"

    async with serving(hub) as app, connect(app) as client:
        assert await client.rpc("bytes", "json") == [1, 2]
        assert await ended(client.rpc("bytes", "bytes")) == 3506
