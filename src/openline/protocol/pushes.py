"""From the words of the engine to the messages of the wire."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from openline.codes import ErrorCode, UnsubscribeCode
from openline.protocol import messages
from openline.protocol.messages import (
    ArrivalPush,
    Error,
    Info,
    MessagePush,
    Pub,
    Push,
    Reply,
    SubscribePush,
    UnsubscribePush,
    raw,
)
from openline.publication import Arrival, ClientInfo, Message, Publication

#: Which field of a reply holds a result.
_FIELDS: Final[dict[type, str]] = {
    messages.ConnectResult: "connect",
    messages.SubscribeResult: "subscribe",
    messages.UnsubscribeResult: "unsubscribe",
    messages.PublishResult: "publish",
    messages.PresenceResult: "presence",
    messages.PresenceStatsResult: "presence_stats",
    messages.HistoryResult: "history",
    messages.RpcResult: "rpc",
    messages.RefreshResult: "refresh",
    messages.SubRefreshResult: "sub_refresh",
}


def info_message(info: ClientInfo) -> Info:
    """Say who a client is."""
    return Info(user=info.user, client=info.client, conn_info=raw(info.connection), chan_info=raw(info.channel))


def pub_message(publication: Publication) -> Pub:
    """Say a publication as it stands in pushes, recoveries and history."""
    return Pub(
        data=raw(publication.data),
        info=None if publication.info is None else info_message(publication.info),
        offset=publication.offset,
        tags=publication.tags or None,
        # The first of a stream names it, so that a client that began before the stream did learns its epoch.
        epoch=publication.epoch if publication.offset and not publication.previous else "",
    )


def pub_messages(publications: Iterable[Publication]) -> list[Pub]:
    """Say publications in their order."""
    return [pub_message(publication) for publication in publications]


def channel_push(channel: str, message: Message) -> Reply:
    """Say to a subscriber what came through a channel."""
    if isinstance(message, Arrival):
        arrival = ArrivalPush(info=info_message(message.info))
        push = Push(channel=channel, join=arrival) if message.joined else Push(channel=channel, leave=arrival)
    else:
        push = Push(channel=channel, pub=pub_message(message))
    return Reply(push=push)


def unsubscribe_push(channel: str, code: UnsubscribeCode) -> Reply:
    """Tell a client that a subscription has ended."""
    return Reply(push=Push(channel=channel, unsubscribe=UnsubscribePush(code=code.number, reason=code.reason)))


def subscribe_push(channel: str, push: SubscribePush) -> Reply:
    """Tell a client that a server-side subscription has begun."""
    return Reply(push=Push(channel=channel, subscribe=push))


def message_push(data: bytes) -> Reply:
    """Send a client a message outside every channel."""
    return Reply(push=Push(message=MessagePush(data=raw(data))))


def error_reply(identifier: int, code: ErrorCode) -> Reply:
    """Refuse a command."""
    return Reply(id=identifier, error=Error(code=code.number, message=code.message, temporary=code.temporary))


def result_reply(identifier: int, result: object) -> Reply:
    """Answer a command."""
    fields: dict[str, Any] = {_FIELDS[type(result)]: result}
    return Reply(id=identifier, **fields)
