"""The released Python library of the API, as it is, against a server on a socket: every method of both its clients."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, final

import cent
import pytest
from cent.exceptions import CentApiResponseError, CentTransportError, CentUnauthorizedError
from fastapi import FastAPI

from openline import Hub
from openline.testing import Client, connect
from tests.api.house import KEY, house_hub, served

#: Methods of the commercial server that the library has too.
NOT_IN_THE_REFERENCE = {
    "connections",
    "update_user_status",
    "get_user_status",
    "delete_user_status",
    "block_user",
    "unblock_user",
    "revoke_token",
    "invalidate_user_tokens",
    "device_register",
    "device_update",
    "device_remove",
    "device_list",
    "device_topic_list",
    "device_topic_update",
    "user_topic_list",
    "user_topic_update",
    "send_push_notification",
    "update_push_status",
    "cancel_push",
}


@final
class BackEnd:
    """A back end with the library.

    Attributes:
        used: the methods that were asked for.
    """

    def __init__(self, app: FastAPI, hub: Hub, url: str, call: Callable[[str, Any], Awaitable[Any]]) -> None:
        self.app = app
        self.hub = hub
        self.url = url
        self.used: set[str] = set()
        self._call = call

    async def ask(self, request: Any) -> Any:
        """Ask for something by the library's own method for it."""
        self.used.add(request.api_method)
        return await self._call(request.api_method, request)


@pytest.fixture(params=["async", "sync"])
async def it(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BackEnd]:
    """Each of the library's clients; the sync one in a thread."""
    monkeypatch.setenv("NO_PROXY", "*")
    hub = house_hub()
    app = FastAPI()
    app.include_router(hub.router)
    app.include_router(hub.api(KEY))
    async with served(app) as address:
        url = f"{address}/api"
        if request.param == "async":
            client = cent.AsyncClient(url, KEY)
            yield BackEnd(app, hub, url, lambda method, params: getattr(client, method)(params))
            await client.close()
        else:
            with cent.Client(url, KEY) as sync:
                yield BackEnd(app, hub, url, lambda method, params: asyncio.to_thread(getattr(sync, method), params))


async def publish(it: BackEnd) -> None:
    """Publishing, to one and to many, in JSON and in base64."""
    first = await it.ask(cent.PublishRequest(channel="room:a", data={"text": "hi"}, tags={"a": "b"}))
    again = cent.PublishRequest(channel="room:a", data={"text": "ho"}, idempotency_key="k")
    assert (await it.ask(again)).offset == (await it.ask(again)).offset == first.offset + 1
    unkept = cent.PublishRequest(channel="news:a", data=1, skip_history=True)
    assert (await it.ask(unkept)).model_dump() == {"offset": 0, "epoch": ""}
    encoded = base64.b64encode(b"\x00").decode()
    assert (await it.ask(cent.PublishRequest(channel="raw:a", data=None, b64data=encoded))).offset == 1
    answer = await it.ask(cent.BroadcastRequest(channels=["news:a", "nowhere", "news:b"], data=1))
    assert [response.error and response.error.code for response in answer.responses] == [None, 102, None]
    assert answer.responses[2].result.offset == 1


async def read(it: BackEnd, ann: Client) -> None:
    """History, presence, and what there is."""
    page = await it.ask(cent.HistoryRequest(channel="room:a", limit=1, reverse=True))
    assert (page.offset, page.publications[0].data) == (2, {"text": "ho", "by": "nobody"})
    since = cent.StreamPosition(offset=0, epoch=page.epoch)
    page = await it.ask(cent.HistoryRequest(channel="room:a", limit=-1, since=since))
    assert [publication.tags for publication in page.publications] == [{"a": "b"}, None]
    assert (await it.ask(cent.HistoryRequest(channel="raw:a", limit=1))).publications[0].data is None
    await it.ask(cent.HistoryRemoveRequest(channel="room:a"))
    assert (await it.ask(cent.HistoryRequest(channel="room:a", limit=-1))).publications == []
    presence = (await it.ask(cent.PresenceRequest(channel="room:a"))).presence
    assert (presence[ann.id].user, presence[ann.id].conn_info) == ("ann", {"name": "ann"})
    assert (await it.ask(cent.PresenceStatsRequest(channel="room:a"))).num_users == 1
    assert (await it.ask(cent.ChannelsRequest())).channels["room:a"].num_clients == 1
    assert (await it.ask(cent.ChannelsRequest(pattern="none*"))).channels == {}
    (node,) = (await it.ask(cent.InfoRequest())).nodes
    assert (node.uid, node.num_clients, node.num_channels) == (it.hub.nodes[0].id, 1, 1)


async def reach(it: BackEnd, ann: Client) -> None:
    """A user's connections."""
    override = cent.ChannelOptionsOverride(presence=cent.BoolValue(value=False))
    since = cent.StreamPosition(offset=0, epoch="")
    wanted = cent.SubscribeRequest(
        user="ann", channel="news:a", info={"i": 1}, data=2, recover_since=since, override=override
    )
    await it.ask(wanted)
    push = await ann.push()
    assert (push["channel"], push["subscribe"]["data"]) == ("news:a", 2)
    assert (await ann.publication("news:a"))["data"] == 1
    await it.ask(cent.UnsubscribeRequest(user="ann", channel="news:a", client=ann.id))
    assert (await ann.push())["unsubscribe"]["code"] == 2000
    await it.ask(cent.RefreshRequest(user="ann", expire_at=4_000_000_000))
    assert (await ann.push())["refresh"]["expires"]
    await it.ask(cent.DisconnectRequest(user="ann", whitelist=[ann.id]))
    await it.ask(cent.DisconnectRequest(user="ann", disconnect=cent.Disconnect(code=4001, reason="away")))
    assert (await ann.closed()).code == 4001


async def batch(it: BackEnd) -> None:
    """Several commands at once, in both ways."""
    requests = [
        cent.PublishRequest(channel="news:c", data=1),
        cent.PresenceStatsRequest(channel="room:a"),
        cent.DisconnectRequest(user="nobody"),
        cent.HistoryRequest(channel="news:c"),
    ]
    for count, parallel in enumerate((None, True), 1):
        replies = (await it.ask(cent.BatchRequest(requests=requests, parallel=parallel))).replies
        assert (replies[0].offset, replies[1].num_clients, len(replies)) == (count, 0, 4)


async def test_every_method_of_the_library(it: BackEnd) -> None:
    """Each is understood, and its result is read as the library reads it."""
    async with connect(it.app, name="ann") as ann:
        await ann.subscribe("room:a")
        await publish(it)
        assert [(await ann.publication("room:a"))["data"]["text"] for _ in range(2)] == ["hi", "ho"]
        await read(it, ann)
        await reach(it, ann)
        await batch(it)
    public = {name for name in vars(cent.Client) if not name.startswith("_")} - {"close", "session"}
    assert it.used == public - NOT_IN_THE_REFERENCE


async def test_errors_are_the_library_s_own(it: BackEnd) -> None:
    """A refusal has its code and words, a method of the commercial server is no address, a wrong key no entrance."""
    with pytest.raises(CentApiResponseError) as refusal:
        await it.ask(cent.PublishRequest(channel="room:a", data={"txt": "hi"}))
    assert (refusal.value.code, refusal.value.message) == (107, "text: Field required")
    with pytest.raises(CentApiResponseError, match="102"):
        await it.ask(cent.SubscribeRequest(user="ann", channel="nowhere"))
    with pytest.raises(CentTransportError, match="404"):
        await it.ask(cent.BlockUserRequest(user="ann"))
    stranger = cent.AsyncClient(it.url, "wrong")
    with pytest.raises(CentUnauthorizedError):
        await stranger.info(cent.InfoRequest())
    await stranger.close()
