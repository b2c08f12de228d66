"""Each event as a back end sees it, and what becomes of its answers."""

from __future__ import annotations

from typing import Any

import jwt
import pytest

from openline import JWT, History
from openline.testing import Refused, connect
from tests.backend.service import b64, house, kept_out, service
from tests.serving import ended, refused

SECRET = "a secret of the tests, long enough for every hash there is: 0123456789abcdef"


# --- connect ----------------------------------------------------------------------------------------------------------


async def test_connect_says_who_wants_in_and_is_answered_with_who_it_is() -> None:
    """Everything the answer may say has its effect: for the client, for others, for later events."""
    async with service() as back_end, house(back_end, "connect", "rpc") as house_:
        back_end.answers["connect"] = {
            "result": {
                "user": "ann",
                "info": {"name": "Ann"},
                "data": {"hello": 1},
                "meta": {"plan": "paid"},
                "channels": ["room:a"],
                "subs": {
                    "room:b": {"data": "b", "info": 7, "override": {"presence": {"value": False}}},
                    "room:c": None,
                },
            }
        }
        request: dict[str, Any] = {"data": {"key": "k"}, "name": "js", "version": "1.2", "token": "opaque"}
        async with connect(house_.app, **request) as client:
            session = house_.hub.sessions[client.id]
            said = back_end.last("connect").said
            assert (
                said
                == {"client": client.id, "transport": "websocket", "protocol": "json", "encoding": "json"} | request
            )
            assert (session.user, session.info, session.meta) == ("ann", {"name": "Ann"}, {"plan": "paid"})
            assert session.channels == {"room:a", "room:b", "room:c"}
            assert (await client.presence("room:a"))[client.id]["conn_info"] == {"name": "Ann"}
            assert await client.presence("room:b") == {}
            await client.rpc("any", None)

            assert back_end.last("rpc").said["user"] == "ann"
            assert back_end.last("rpc").said["meta"] == {"plan": "paid"}


async def test_the_client_gets_the_data_of_the_answer() -> None:
    """With the connect reply, and with each subscription."""
    async with service() as back_end, house(back_end, "connect") as house_:
        back_end.answers["connect"] = {"result": {"user": "ann", "data": [1], "subs": {"room:b": {"data": "b"}}}}
        async with connect(house_.app) as client:
            first = next(frame for frame in client.frames)
            assert '"data":[1]' in first
            assert '"subs":{"room:b":{"data":"b"}}' in first


async def test_payloads_may_be_base64_on_both_sides() -> None:
    """A Protobuf client's bytes go as `b64data`; `b64…` of an answer is decoded, and may be no JSON for it."""
    async with service() as back_end, house(back_end, "connect") as house_:
        result = {"user": "ann", "b64data": b64(b"\xff\x00"), "b64info": b64(b'{"name": "Ann"}')}
        back_end.answers["connect"] = {"result": result}
        async with connect(house_.app, protobuf=True, data=b"\xfe") as client:
            said = back_end.last("connect").said
            assert (said["protocol"], said["encoding"], said["b64data"]) == ("protobuf", "binary", b64(b"\xfe"))
            assert house_.hub.sessions[client.id].info == {"name": "Ann"}
            assert b"\xff\x00" in b"".join(frame for frame in client.frames if isinstance(frame, bytes))

        assert await kept_out(house_) == 3506  # JSON has no place for them


async def test_the_channels_a_client_brings_are_told() -> None:
    """Those it has positions in."""
    async with service() as back_end, house(back_end, "connect") as house_:
        back_end.answers["connect"] = {"result": {"user": "ann", "channels": ["room:a"]}}
        async with connect(house_.app, subs={"room:a": {}}):
            assert back_end.last("connect").said["channels"] == ["room:a"]


async def test_an_answer_without_a_result_lets_in_only_whom_a_token_names() -> None:
    """Nobody says who it is: 3501. A result without a user is an anonymous client."""
    auth = JWT(secret=SECRET, anonymous=True)
    async with service() as back_end, house(back_end, "connect", auth=auth) as house_:
        back_end.answers["connect"] = {}
        assert await kept_out(house_) == 3501
        async with connect(house_.app, token=jwt.encode({"sub": "ann"}, SECRET)) as client:
            assert house_.hub.sessions[client.id].user == "ann"
            assert back_end.last("connect").said["user"] == "ann"
        back_end.answers["connect"] = {"result": {}}
        async with connect(house_.app) as client:
            assert house_.hub.sessions[client.id].user == ""


async def test_what_a_user_is_subscribed_to_anyway_comes_beside() -> None:
    """As `attach` was told."""
    async with service() as back_end, house(back_end, "connect", channels_of=lambda user: [f"room:{user}"]) as house_:
        back_end.answers["connect"] = {"result": {"user": "ann", "channels": ["room:a"]}}
        async with connect(house_.app) as client:
            assert house_.hub.sessions[client.id].channels == {"room:a", "room:ann"}


# --- errors and disconnects -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code", "message", "temporary"),
    [
        pytest.param({"code": 103, "message": "no"}, 103, "no", False, id="of the protocol"),
        pytest.param({"code": 109}, 109, "token expired", False, id="without words"),
        pytest.param({"code": 100}, 100, "internal server error", True, id="temporary by itself"),
        pytest.param({"code": 1404, "message": "gone", "temporary": True}, 1404, "gone", True, id="of the app"),
        pytest.param({"code": 400}, 400, "error 400", False, id="of the app, without words"),
    ],
)
async def test_an_error_is_told_as_it_is(answer: dict[str, Any], code: int, message: str, temporary: bool) -> None:
    """The client gets code, message and whether to try again."""
    async with service() as back_end, house(back_end, "rpc") as house_, connect(house_.app) as client:
        back_end.answers["rpc"] = {"error": answer}
        with pytest.raises(Refused) as caught:
            await client.rpc("any", None)

        assert (caught.value.code, caught.value.message, caught.value.temporary) == (code, message, temporary)
        assert house_.hub.counters.handler_errors == 0
        assert house_.events.counts["rpc"].failed == 0


@pytest.mark.parametrize("event", ["connect", "subscribe", "publish", "rpc"])
async def test_a_disconnect_ends_the_connection_whatever_was_asked(event: str) -> None:
    """With the code and the reason of the answer; a reason a client would misread is put in words."""
    async with service() as back_end, house(back_end, event) as house_:
        back_end.answers[event] = {"disconnect": {"code": 4501, "reason": "404 banned"}}
        if event == "connect":
            assert await kept_out(house_) == 4501
            return
        async with connect(house_.app) as client:
            asked = {
                "subscribe": client.subscribe("room:a"),
                "publish": client.publish("room:a", 1),
                "rpc": client.rpc("any", None),
            }
            assert await ended(asked.pop(event)) == 4501
            for other in asked.values():
                other.close()
            assert (await client.closed()).reason == "closed: 404 banned"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"error": {"code": 99}}, id="an error code of the SDKs' own"),
        pytest.param({"error": {"code": 5000}}, id="an error code beyond all"),
        pytest.param({"disconnect": {"code": 1000, "reason": "bye"}}, id="a disconnect code of WebSocket's"),
        pytest.param({"disconnect": {"code": 5000, "reason": "bye"}}, id="a disconnect code beyond all"),
        pytest.param({"error": {"message": "no"}}, id="an error without a code"),
        pytest.param({"result": {"user": 42}}, id="a user that is a number"),
        pytest.param({"result": {"user": "ann", "b64data": "%"}}, id="no base64"),
        pytest.param({"result": {"user": "ann", "b64info": b64(b"\xff")}}, id="info that is no JSON"),
        pytest.param({"result": {"user": "ann", "channels": "room:a"}}, id="channels that are no list"),
        pytest.param({"result": []}, id="a result that is no object"),
    ],
)
async def test_what_cannot_be_is_100_and_said_in_the_log(
    answer: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The client may try again; the log names the event and where, and repeats nothing of the answer."""
    async with service() as back_end, house(back_end, "connect") as house_:
        back_end.answers["connect"] = answer
        assert await kept_out(house_) == 100
        (line,) = [record.getMessage() for record in caplog.records if "event" in record.getMessage()]
        assert line.startswith(f"connect event to {back_end.url('connect')} failed: it answered ")
        assert house_.events.counts["connect"].failed == 1


# --- subscribe --------------------------------------------------------------------------------------------------------


async def test_subscribe_says_which_channel_and_is_answered_with_what_goes_with_it() -> None:
    """Without tokens of the hub's, a token is whatever the client sends."""
    async with service() as back_end, house(back_end, "subscribe") as house_, connect(house_.app) as client:
        back_end.answers["subscribe"] = {"result": {"info": {"seat": 1}, "data": {"topic": "x"}}}
        result = await client.subscribe("room:a", token="opaque", data=[1])
        assert result["data"] == {"topic": "x"}
        assert (await client.presence("room:a"))[client.id]["chan_info"] == {"seat": 1}
        assert back_end.last("subscribe").said == {
            "client": client.id,
            "transport": "websocket",
            "protocol": "json",
            "encoding": "json",
            "user": "",
            "channel": "room:a",
            "token": "opaque",
            "data": [1],
        }


async def test_an_empty_answer_lets_in_and_an_override_changes_what_is_declared() -> None:
    """`override` as the tokens have it."""
    async with service() as back_end, house(back_end, "subscribe") as house_, connect(house_.app) as client:
        back_end.answers["subscribe"] = {}
        assert await client.subscribe("room:a") == {}
        back_end.answers["subscribe"] = {"result": {"override": {"presence": {"value": False}}}}
        await client.subscribe("room:b")
        assert list(await client.presence("room:a")) == [client.id]
        assert await client.presence("room:b") == {}


async def test_subscriptions_of_the_servers_own_are_not_asked_about() -> None:
    """They are the back end's word already."""
    async with service() as back_end, house(back_end, "connect", "subscribe") as house_:
        back_end.answers["connect"] = {"result": {"channels": ["room:a"]}}
        async with connect(house_.app):
            assert back_end.times("subscribe") == 0


# --- publish ----------------------------------------------------------------------------------------------------------


async def test_publish_lets_a_message_through_or_puts_another_in_its_place() -> None:
    """The publisher hears what was made of it, like everyone."""
    async with service() as back_end, house(back_end, "publish") as house_, connect(house_.app) as client:
        await client.subscribe("room:a")
        await client.publish("room:a", {"text": "hello"})
        assert (await client.publication("room:a"))["data"] == {"text": "hello"}
        said = back_end.last("publish").said
        assert (said["channel"], said["data"], said["user"]) == ("room:a", {"text": "hello"}, "")
        for result in ({"data": {"text": "h***o"}}, {"b64data": b64(b'{"text":\n"h***o"}')}):
            back_end.answers["publish"] = {"result": {**result, "tags": {"lang": "en"}}}
            await client.publish("room:a", {"text": "hello"})
            publication = await client.publication("room:a")
            assert (publication["data"], publication["tags"]) == ({"text": "h***o"}, {"lang": "en"})
        back_end.answers["publish"] = {"error": {"code": 103, "message": "no"}}
        assert await refused(client.publish("room:a", 1)) == 103


async def test_publish_may_say_what_is_kept_and_what_was_published_before() -> None:
    """`skip_history`, `idempotency_key` and `version`, as in the server API."""
    channel = {"history": History()}
    async with service() as back_end, house(back_end, "publish", channel=channel) as house_:
        async with connect(house_.app) as client:
            for result in ({"skip_history": True}, {"idempotency_key": "k"}, {"idempotency_key": "k"}, {"version": 5}):
                back_end.answers["publish"] = {"result": result}
                await client.publish("room:a", result)
            back_end.answers["publish"] = {"result": {"version": 4}}
            await client.publish("room:a", "old")

        page = await house_.room.history(name="a")
        assert [kept.message for kept in page.publications] == [{"idempotency_key": "k"}, {"version": 5}]


async def test_bytes_of_a_raw_channel_go_and_come_in_base64() -> None:
    """JSON clients of it are sent JSON alone."""
    async with (
        service() as back_end,
        house(back_end, "publish") as house_,
        connect(house_.app, protobuf=True) as client,
    ):
        await client.subscribe("blob:a")
        back_end.answers["publish"] = lambda said: {"result": {"b64data": said["b64data"] + said["b64data"]}}
        await client.publish("blob:a", b"\xff\x00\xfe")
        assert (await client.publication("blob:a"))["data"] == b"\xff\x00\xfe\xff\x00\xfe"
        assert back_end.last("publish").said["encoding"] == "binary"


async def test_a_message_that_is_no_json_is_the_clients_fault_and_a_replacement_the_back_ends() -> None:
    """107 for what the client sent; 100 for what the back end made of it."""
    async with (
        service() as back_end,
        house(back_end, "publish") as house_,
        connect(house_.app, protobuf=True) as client,
    ):
        assert await refused(client.publish("room:a", b"\xff")) == 107
        back_end.answers["publish"] = {"result": {"b64data": b64(b"\xff")}}
        assert await refused(client.publish("room:a", 1)) == 100


# --- rpc --------------------------------------------------------------------------------------------------------------


async def test_rpc_is_any_method_that_the_hub_has_not_itself() -> None:
    """The reply is the answer's data; nothing is null."""
    async with service() as back_end, house(back_end, "rpc") as house_, connect(house_.app) as client:
        back_end.answers["rpc"] = lambda said: {"result": {"data": [said["method"], said.get("data")]}}
        assert await client.rpc("rooms.list", {"page": 1}) == ["rooms.list", {"page": 1}]
        assert await client.rpc("other", None) == ["other", None]
        back_end.answers["rpc"] = {}
        assert (await client.command("rpc", method="nothing")).get("data") is None


async def test_rpc_brings_bytes_to_protobuf_clients_alone() -> None:
    """A JSON client that is given what is no JSON is closed with 3506."""
    async with service() as back_end, house(back_end, "rpc") as house_:
        back_end.answers["rpc"] = {"result": {"b64data": b64(b"\xff\x00")}}
        async with connect(house_.app, protobuf=True) as client:
            assert await client.rpc("any", b"\xfe") == b"\xff\x00"
            assert back_end.last("rpc").said["b64data"] == b64(b"\xfe")
        async with connect(house_.app) as client:
            assert await ended(client.rpc("any", None)) == 3506
