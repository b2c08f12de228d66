"""What each method of the API does: the checks, then the work of the hub's parts, then the result.

The docstring of a method is what the OpenAPI page says of it.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Final, final

from msgspec import UNSET, Raw, UnsetType

from openline import codes
from openline.api import messages
from openline.api.answers import answer
from openline.api.globs import Glob
from openline.api.procedures import Procedures
from openline.api.reading import MOST_AT_ONCE, Reader
from openline.application import Admission
from openline.errors import BadRequest, DeclarationError, Disconnect, NotAvailable
from openline.node import Node
from openline.options import Override
from openline.orders import Orders, Target
from openline.paging import read_page
from openline.protocol.json import is_json, one_line
from openline.publication import ClientInfo, Position, Publication
from openline.reception import Reception
from openline.rules import ChannelRules

#: How many channels of a broadcast or commands of a batch are under way at the same time.
ABREAST: Final = 100


@final
class Methods:
    """The methods of the API, by their names.

    Every coroutine here may raise `Refusal`, `BrokerUnavailable` or `PayloadTooBig`.
    """

    def __init__(self, node: Node, reception: Reception, orders: Orders, procedures: Procedures) -> None:
        self.node = node
        self._reception = reception
        self._orders = orders
        self._procedures = procedures
        self._read = Reader(node.limits)

    # --- publishing -----------------------------------------------------------------------------------------------

    async def publish(self, request: messages.PublishRequest) -> messages.PublishResult:
        """Publish to every subscriber of a channel, on every node.

        No handler is asked. The data has to fit the type the channel was declared with, else it is error 107, which
        names the field; a channel no pattern matches is error 102.
        """
        rules = self._rules(request.channel)
        return await self._publish(request.channel, rules, self._admitted(rules, request), request)

    async def broadcast(self, request: messages.BroadcastRequest) -> messages.BroadcastResult:
        """Publish the same to many channels.

        Each has a response of its own, in the order of the channels: what fails in one keeps no other from it. There is
        no order between the channels. One that is there twice is published to once, and has its response twice.
        """
        if not request.channels:
            raise BadRequest("channels is missing, or empty")
        if len(request.channels) > MOST_AT_ONCE:
            raise BadRequest(f"{len(request.channels)} channels, and {MOST_AT_ONCE} is the limit of a broadcast")
        self._read.payload(request.data, request.b64data, "data")  # what is no data at all is an error of the whole
        responses: dict[str, messages.PublishResponse] = dict.fromkeys(request.channels, messages.PublishResponse())
        admitted: dict[ChannelRules, bytes] = {}
        different = tuple(responses)
        for start in range(0, len(different), ABREAST):
            some = different[start : start + ABREAST]
            answers = await asyncio.gather(*(self._publish_one(channel, admitted, request) for channel in some))
            responses.update(zip(some, answers, strict=True))
        return messages.BroadcastResult(responses=[responses[channel] for channel in request.channels])

    async def _publish_one(
        self, channel: str, admitted: dict[ChannelRules, bytes], request: messages.BroadcastRequest
    ) -> messages.PublishResponse:
        try:
            rules = self._rules(channel)
            if rules not in admitted:
                admitted[rules] = self._admitted(rules, request)
            return messages.PublishResponse(result=await self._publish(channel, rules, admitted[rules], request))
        except Exception as error:  # noqa: BLE001  # whatever it was, it is the answer for this channel
            return messages.PublishResponse(error=answer("broadcast", error, self.node.counters, self.node.notices))

    def _admitted(self, rules: ChannelRules, request: messages.Publishing) -> bytes:
        return rules.payload.admit(self._read.payload(request.data, request.b64data, "data"))

    async def _publish(
        self, channel: str, rules: ChannelRules, data: bytes, request: messages.Publishing
    ) -> messages.PublishResult:
        position = await self.node.publish(
            channel,
            data,
            rules.options,
            skip_history=request.skip_history,
            tags=request.tags or None,
            idempotency_key=request.idempotency_key,
            version=request.version,
            version_epoch=request.version_epoch,
        )
        return messages.PublishResult(offset=position.offset, epoch=position.epoch)

    # --- users ----------------------------------------------------------------------------------------------------

    async def subscribe(self, request: messages.SubscribeRequest) -> messages.Done:
        """Put a user's connections into a channel, on every node.

        No handler is asked, and the clients are told. One that is in the channel already stays as it is; a user without
        a connection is no error. With `recover_since` the clients are brought what was published since; where history
        no longer holds all of it, that is error 112, and the connection is not subscribed.
        """
        self._rules(request.channel)
        flags = request.override or messages.OverrideFlags()
        override = {name: getattr(flags, name) for name in messages.OverrideFlags.__struct_fields__}
        admission = Admission(
            info=self._read.embedded(request.info, request.b64info, "info"),
            data=self._read.embedded(request.data, request.b64data, "data"),
            expires_at=self._expiry(request.expire_at),
            override=Override(**{name: flag.value for name, flag in override.items() if flag is not None}),
        )
        if admission.expires_at is not None and admission.expires_at <= self.node.clock.wall():
            raise BadRequest("expire_at is past")
        since = request.recover_since
        asked = None if since is None else Position(since.epoch, since.offset)
        await self._orders.subscribe(self._target(request), request.channel, admission, asked)
        return messages.Done()

    async def unsubscribe(self, request: messages.UnsubscribeRequest) -> messages.Done:
        """Take a user's connections out of a channel, or out of all, on every node; the clients are told."""
        if request.channel:
            self._rules(request.channel)
        await self._orders.unsubscribe(self._target(request), request.channel, codes.UNSUBSCRIBED_BY_SERVER)
        return messages.Done()

    async def disconnect(self, request: messages.DisconnectRequest) -> messages.Done:
        """Close a user's connections, on every node.

        By default with 3503, and the clients stay away; with 3011 they come back at once.
        """
        target = self._target(request)
        wanted = request.disconnect or messages.DisconnectCode()
        try:
            code = Disconnect(wanted.code or codes.CLOSED_FORCED, wanted.reason or None).code
        except DeclarationError as error:
            raise BadRequest(str(error)) from None
        await self._orders.disconnect(target, code, spared=request.whitelist)
        return messages.Done()

    async def refresh(self, request: messages.RefreshRequest) -> messages.Done:
        """Say anew when a user's connections end, on every node; without `expire_at` they do not expire any more."""
        target = self._target(request)
        info = self._read.embedded(request.info, "", "info")
        if request.expired:
            await self._orders.disconnect(target, codes.CLOSED_CONNECTION_EXPIRED)
        else:
            await self._orders.refresh(target, self._expiry(request.expire_at), info)
        return messages.Done()

    @staticmethod
    def _expiry(seconds: float) -> float | None:
        return float(seconds) or None

    @staticmethod
    def _target(request: messages.Aimed) -> Target:
        user = None if isinstance(request.user, UnsetType) else request.user
        if user is None and not request.client and not request.session:
            raise BadRequest('user is missing; "" is everyone who is anonymous')
        return Target(user, request.client, request.session)

    # --- channels -------------------------------------------------------------------------------------------------

    async def presence(self, request: messages.ChannelRequest) -> messages.PresenceResult:
        """Say who is in a channel, on every node; error 108 where it was declared without presence."""
        self._need_presence(request.channel)
        members = await self.node.presence.members(request.channel)
        return messages.PresenceResult(presence={client: _info(info) for client, info in members.items()})

    async def presence_stats(self, request: messages.ChannelRequest) -> messages.PresenceStatsResult:
        """Count who is in a channel, on every node; all anonymous connections are one user."""
        self._need_presence(request.channel)
        stats = await self.node.presence.stats(request.channel)
        return messages.PresenceStatsResult(num_clients=stats.clients, num_users=stats.users)

    def _need_presence(self, channel: str) -> None:
        if not self._rules(channel).options.presence:
            raise NotAvailable

    async def history(self, request: messages.HistoryRequest) -> messages.HistoryResult:
        """Read what is kept of a channel, and where its stream stands.

        Error 108 where it was declared without history, 112 where `since` is of another epoch.
        """
        options = self._rules(request.channel).options
        since = None if request.since is None else Position(request.since.epoch, request.since.offset)
        page = await read_page(
            self.node, request.channel, options, since=since, limit=max(request.limit, -1), reverse=request.reverse
        )
        publications = [_publication(publication, raw=options.raw) for publication in page.publications]
        return messages.HistoryResult(publications=publications, epoch=page.top.epoch, offset=page.top.offset)

    async def history_remove(self, request: messages.ChannelRequest) -> messages.Done:
        """Drop what is kept of a channel; its epoch and offset stay."""
        if self._rules(request.channel).options.history is None:
            raise NotAvailable
        await self.node.broker.forget(request.channel)
        return messages.Done()

    async def channels(self, request: messages.ChannelsRequest) -> messages.ChannelsResult:
        """List the channels that have subscribers on any node, and how many; every node is asked."""
        glob = Glob(request.pattern)
        survey = await self._orders.survey(glob.prefix)
        found = {name: messages.ChannelInfo(count) for name, count in survey.channels.items() if glob.matches(name)}
        return messages.ChannelsResult(channels=found)

    # --- the rest -------------------------------------------------------------------------------------------------

    async def info(self, request: messages.InfoRequest) -> messages.InfoResult:
        """Say which nodes there are, and what each has; of the others what they said in the last seconds."""
        now = self.node.clock.wall()
        nodes = [
            messages.NodeResult(
                uid=node.id,
                name=node.process,
                version=node.version,
                num_clients=node.clients,
                num_users=node.users,
                num_subs=node.subscriptions,
                num_channels=node.channels,
                uptime=max(0, int(now - node.started_at)),
            )
            for node in self.node.cluster.nodes
        ]
        return messages.InfoResult(nodes=nodes)

    async def rpc(self, request: messages.RpcRequest) -> messages.RpcResult:
        """Call a procedure of the server's own; error 104 where there is none of this name."""
        if not request.method:
            raise BadRequest("method is missing")
        data = await self._procedures.call(request.method, self._read.embedded(request.params, "", "params"))
        return messages.RpcResult(data=Raw(data))

    def _rules(self, channel: str) -> ChannelRules:
        if not channel:
            raise BadRequest("channel is missing")
        return self._reception.declared(channel)


def _publication(publication: Publication, *, raw: bool) -> messages.Publication:
    data = publication.data
    return messages.Publication(
        data=Raw(data if not raw else one_line(data) if is_json(data) else b"null"),
        b64data=base64.b64encode(data).decode() if raw else "",
        info=None if publication.info is None else _info(publication.info),
        offset=publication.offset,
        tags=publication.tags or {},
    )


def _info(info: ClientInfo) -> messages.ClientInfo:
    return messages.ClientInfo(
        info.user,
        info.client,
        Raw(info.connection) if info.connection else UNSET,
        Raw(info.channel) if info.channel else UNSET,
    )
