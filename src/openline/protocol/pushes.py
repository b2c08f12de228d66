"""From the words of the engine to the messages of the wire."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from openline.codes import DisconnectCode, ErrorCode, UnsubscribeCode
from openline.protocol import messages
from openline.protocol.codec import Codec
from openline.protocol.delta import Patches
from openline.protocol.messages import (
    ArrivalPush,
    DisconnectPush,
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


def pub_message(publication: Publication, data: bytes | None = None, *, delta: bool = False) -> Pub:
    """Say a publication as it stands in pushes, recoveries and history.

    Args:
        data: what stands for its payload; None for the payload itself.
        delta: that is a patch of the publication before it.
    """
    return Pub(
        data=raw(publication.data if data is None else data),
        info=None if publication.info is None else info_message(publication.info),
        offset=publication.offset,
        tags=publication.tags or None,
        delta=delta,
        # The first of a stream names it, so that a client that began before the stream did learns its epoch.
        epoch=publication.epoch if publication.offset and not publication.previous else "",
    )


def pub_messages(publications: Iterable[Publication]) -> list[Pub]:
    """Say publications in their order."""
    return [pub_message(publication) for publication in publications]


def delta_messages(publications: Iterable[Publication], codec: Codec, patches: Patches) -> Iterator[Pub]:
    """Say publications that follow each other to a subscription with delta, whatever it was sent before.

    The first is whole, and each after it a patch of the one before it, where that is shorter.
    """
    before: Publication | None = None
    for publication in publications:
        patch = None if before is None else patches.between(before, publication)
        data = codec.quote(publication.data if patch is None else patch)
        yield pub_message(publication, data, delta=patch is not None)
        before = publication


def channel_push(channel: str, message: Message) -> Reply:
    """Say to a subscriber what came through a channel."""
    if isinstance(message, Arrival):
        arrival = ArrivalPush(info=info_message(message.info))
        push = Push(channel=channel, join=arrival) if message.joined else Push(channel=channel, leave=arrival)
    else:
        push = Push(channel=channel, pub=pub_message(message))
    return Reply(push=push)


def pub_push(channel: str, pub: Pub) -> Reply:
    """Say to a subscriber a publication that was put into words before."""
    return Reply(push=Push(channel=channel, pub=pub))


def unsubscribe_push(channel: str, code: UnsubscribeCode) -> Reply:
    """Tell a client that a subscription has ended."""
    return Reply(push=Push(channel=channel, unsubscribe=UnsubscribePush(code=code.number, reason=code.reason)))


def subscribe_push(channel: str, push: SubscribePush) -> Reply:
    """Tell a client that a server-side subscription has begun."""
    return Reply(push=Push(channel=channel, subscribe=push))


def disconnect_push(code: DisconnectCode) -> Reply:
    """Tell a client why its line ends, where the wire has no other words for it."""
    push = DisconnectPush(code=code.number, reason=code.reason, reconnect=code.reconnect)
    return Reply(push=Push(disconnect=push))


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
