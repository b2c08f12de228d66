"""What lasts: what is refreshed, what has ended, and what goes with every request to a back end."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest

from openline.testing import Client, connect, line
from tests.backend.service import house, kept_out, service, settle

# --- refresh ----------------------------------------------------------------------------------------------------------


async def test_refresh_prolongs_a_connection_until_it_says_expired() -> None:
    """The client hears of none of it; 3005 has it come back and be asked about anew."""
    async with service() as back_end, house(back_end, "connect", "refresh") as house_:
        clock = house_.clock
        back_end.answers["connect"] = lambda said: {"result": {"user": "ann", "expire_at": clock.wall() + 60}}
        back_end.answers["refresh"] = lambda said: {"result": {"expire_at": clock.wall() + 60, "info": "new"}}
        async with connect(house_.app) as client:
            await clock.advance(61)
            await settle(house_)
            assert back_end.last("refresh").said == {
                "client": client.id,
                "transport": "websocket",
                "protocol": "json",
                "encoding": "json",
                "user": "ann",
            }
            assert house_.hub.sessions[client.id].info == "new"
            back_end.answers["refresh"] = {"result": {"expired": True}}
            await clock.advance(61)
            await settle(house_)

            assert (await client.closed()).code == 3005


async def test_a_refresh_that_is_not_answered_is_asked_again_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """A back end that is away for a moment costs nobody the connection."""
    monkeypatch.setattr("openline.backend.handlers._REFRESH_PAUSES", (0.01,) * 5)
    async with service() as back_end, house(back_end, "connect", "refresh") as house_:
        clock = house_.clock
        back_end.answers["connect"] = lambda said: {"result": {"user": "ann", "expire_at": clock.wall() + 60}}
        back_end.answers["refresh"] = lambda said: {"result": {}} if back_end.times("refresh") > 3 else {}
        async with connect(house_.app) as client:
            await clock.advance(61)
            await settle(house_)
            await clock.advance(600)
            assert not client.is_closed
            assert back_end.times("refresh") == 4


async def test_a_refresh_that_is_never_answered_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is no leave."""
    monkeypatch.setattr("openline.backend.handlers._REFRESH_PAUSES", (0.01,))
    async with service() as back_end, house(back_end, "connect", "refresh") as house_:
        clock = house_.clock
        back_end.answers["connect"] = lambda said: {"result": {"user": "ann", "expire_at": clock.wall() + 60}}
        back_end.answers["refresh"] = {}
        async with connect(house_.app) as client:
            await clock.advance(61)
            await settle(house_)
            assert (await client.closed()).code == 3005
        assert house_.events.counts["refresh"].failed == 2


async def test_sub_refresh_prolongs_a_subscription_until_it_says_expired() -> None:
    """2501 has the client subscribe again and be asked about anew."""
    async with service() as back_end, house(back_end, "subscribe", "sub_refresh") as house_:
        clock = house_.clock
        back_end.answers["subscribe"] = lambda said: {"result": {"expire_at": clock.wall() + 60}}
        back_end.answers["sub_refresh"] = lambda said: {"result": {"expire_at": clock.wall() + 60, "info": 7}}
        async with connect(house_.app) as client:
            await client.subscribe("room:a")
            await clock.advance(61)
            await settle(house_)
            assert back_end.last("sub_refresh").said["channel"] == "room:a"
            assert (await client.presence("room:a"))[client.id]["chan_info"] == 7
            back_end.answers["sub_refresh"] = {"result": {"expired": True}}
            await clock.advance(61)
            await settle(house_)
            codes = [push["unsubscribe"]["code"] for push in client.waiting() if "unsubscribe" in push]
            assert codes == [2501]


# --- disconnect and unsubscribe ---------------------------------------------------------------------------------------


async def test_the_back_end_is_told_of_every_end_in_its_order() -> None:
    """Why, by its code and reason, and everything it was told before of who it is."""
    events = ("connect", "disconnect", "unsubscribe")
    async with service() as back_end, house(back_end, *events) as house_:
        back_end.answers["connect"] = {"result": {"user": "ann", "meta": {"plan": "paid"}}}
        async with connect(house_.app) as client:
            who = back_end.last("connect").said | {"user": "ann", "meta": {"plan": "paid"}}
            await back_end.told()
            await client.subscribe("room:a")
            await client.unsubscribe("room:a")
            told = await back_end.told()
            assert (told.event, told.said["channel"], told.said["code"]) == ("unsubscribe", "room:a", 0)
            await client.subscribe("room:b")
            house_.hub.sessions[client.id].disconnect(4001, "bye now")
            told = await back_end.told()
            assert (told.event, told.said["channel"], told.said["code"]) == ("unsubscribe", "room:b", 4001)
            told = await back_end.told()
            assert told.event == "disconnect"
            assert told.said == who | {"code": 4001, "reason": "bye now"}


async def test_those_still_connected_as_the_server_ends_are_told_of_too() -> None:
    """The events end after the hub."""
    async with service() as back_end:
        async with house(back_end, "disconnect") as house_:
            client: Client
            async with connect(house_.app) as client:
                house_.hub.sessions[client.id].shutdown()
        told = back_end.last("disconnect").said
        assert (told["client"], told["code"], told["reason"]) == (client.id, 3001, "shutdown")


# --- the request itself -----------------------------------------------------------------------------------------------


async def test_allowed_headers_of_the_opening_request_go_with_every_event_and_no_others() -> None:
    """Those a page wrote into the connect command count where the request had none; the operator's before both."""
    options: dict[str, Any] = {
        "headers": ["Cookie", "X-Tenant", "X-Forwarded-For", "X-Service"],
        "static_headers": {"X-Service": "openline"},
    }
    own = {"Cookie": "session=5e55", "X-Other": "no", "X-Service": "forged", "Host": "example.com"}
    told = {"x-tenant": "acme", "cookie": "session=forged", "x-forwarded-for": "1.2.3.4", "x-other": "no"}
    async with service() as back_end, house(back_end, "connect", "rpc", "disconnect", **options) as house_:
        async with line(house_.app, headers=own) as client:
            await client.connect(headers=told)
            await client.rpc("any", None)
        for event in ("connect", "rpc"):
            headers = back_end.last(event).headers
            assert (headers["cookie"], headers["x-service"], headers["x-tenant"]) == (
                "session=5e55",
                "openline",
                "acme",
            )
            assert {"x-other", "x-forwarded-for"}.isdisjoint(headers)
            assert headers["host"] == back_end.origin.removeprefix("http://")


async def test_every_request_is_signed() -> None:
    """By its time and its body, with the secret."""
    async with service() as back_end, house(back_end, "connect", secret="s3cret") as house_, connect(house_.app):
        asked = back_end.last("connect")
        moment, _, digest = asked.headers["x-openline-signature"].partition(",sha256=")
        signed = moment.removeprefix("t=").encode() + b"." + asked.body
        assert hmac.compare_digest(digest, hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest())


async def test_a_user_of_the_url_is_shown_to_the_back_end_and_to_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """As `Authorization: Basic`."""
    async with service() as back_end:
        url = back_end.url("connect").replace("http://", "http://open%20line:pass@") + "?key=k3y"
        async with house(None, connect=url, headers=["authorization"]) as house_:
            async with connect(house_.app, headers={"authorization": "Bearer of the client"}):
                pass
            back_end.answers["connect"] = {"result": []}
            assert await kept_out(house_) == 100
        basic = back_end.last("connect").headers["authorization"]
        assert base64.b64decode(basic.removeprefix("Basic ")) == b"open line:pass"
        assert "pass@" not in caplog.text
        assert "k3y" not in caplog.text
