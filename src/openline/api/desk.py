"""Where requests are taken: by the name of a method and the bytes of its parameters, one or many at a time.

Invariant: nothing is raised but `NotJSON`. Whatever else went wrong is an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, final

import msgspec
from msgspec import Raw, UnsetType

from openline.api import messages
from openline.api.answers import answer
from openline.api.messages import Error
from openline.api.methods import ABREAST, MOST_AT_ONCE, Methods
from openline.api.procedures import Procedure, Procedures
from openline.api.reading import NotJSON, Reader
from openline.errors import BadRequest, MethodNotFound, NotAvailable
from openline.node import Node
from openline.orders import Orders
from openline.reception import Reception

#: Methods of the reference that are experimental there, and not offered.
NOT_OFFERED: Final = frozenset(
    (
        "map_publish",
        "map_remove",
        "map_read_state",
        "map_read_stream",
        "map_stats",
        "map_clear",
        "shared_poll_publish",
    )
)


class Method(NamedTuple):
    """A method, and what it takes and gives."""

    carry_out: Callable[[Any], Awaitable[messages.Result]]
    request: type[messages.Request]
    result: type[messages.Result]


@final
class Desk:
    """Takes requests for the methods.

    Args:
        procedures: what `rpc` calls, by name.
    Attributes:
        methods: what there is, by name.
    Raises:
        DeclarationError: a procedure is none.
    """

    __slots__ = ("_read", "methods", "node")

    def __init__(self, node: Node, reception: Reception, orders: Orders, procedures: Mapping[str, Procedure]) -> None:
        self.node = node
        self._read = Reader(node.limits.json_depth)
        methods = Methods(node, reception, orders, Procedures(procedures))
        self.methods: dict[str, Method] = {
            "publish": Method(methods.publish, messages.PublishRequest, messages.PublishResult),
            "broadcast": Method(methods.broadcast, messages.BroadcastRequest, messages.BroadcastResult),
            "subscribe": Method(methods.subscribe, messages.SubscribeRequest, messages.Done),
            "unsubscribe": Method(methods.unsubscribe, messages.UnsubscribeRequest, messages.Done),
            "disconnect": Method(methods.disconnect, messages.DisconnectRequest, messages.Done),
            "refresh": Method(methods.refresh, messages.RefreshRequest, messages.Done),
            "presence": Method(methods.presence, messages.ChannelRequest, messages.PresenceResult),
            "presence_stats": Method(methods.presence_stats, messages.ChannelRequest, messages.PresenceStatsResult),
            "history": Method(methods.history, messages.HistoryRequest, messages.HistoryResult),
            "history_remove": Method(methods.history_remove, messages.ChannelRequest, messages.Done),
            "channels": Method(methods.channels, messages.ChannelsRequest, messages.ChannelsResult),
            "info": Method(methods.info, messages.InfoRequest, messages.InfoResult),
            "rpc": Method(methods.rpc, messages.RpcRequest, messages.RpcResult),
        }

    async def take(self, name: str, body: bytes) -> messages.Result | Error:
        """Carry out one method; give its result, or why there is none.

        Raises:
            NotJSON: the parameters are none.
        """
        try:
            if name in NOT_OFFERED:
                raise NotAvailable
            method = self.methods.get(name)
            if method is None:
                raise MethodNotFound
            return await method.carry_out(self._read.parameters(body, method.request))
        except NotJSON:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it was, it is the answer
            return answer(name, error, self.node.notices)

    # --- many at a time -------------------------------------------------------------------------------------------

    async def batch(self, body: bytes) -> messages.BatchResult | Error:
        """Carry out several commands, one after the other or at the same time.

        An error of one keeps no other from being carried out. A batch in a batch is error 104.

        Raises:
            NotJSON: the parameters are none.
        """
        try:
            request = self._read.parameters(body, messages.BatchRequest)
            if len(request.commands) > MOST_AT_ONCE:
                raise BadRequest(f"{len(request.commands)} commands, and {MOST_AT_ONCE} is the limit of a batch")
        except BadRequest as error:
            return answer("batch", error, self.node.notices)
        replies: list[dict[str, Raw]] = []
        for start in range(0, len(request.commands), ABREAST):
            some = request.commands[start : start + ABREAST]
            if request.parallel:
                replies += await asyncio.gather(*map(self._reply, some))
            else:
                replies += [await self._reply(command) for command in some]
                await asyncio.sleep(0)  # where nothing in them waits, the node has other things to do
        return messages.BatchResult(replies=replies)

    async def _reply(self, command: dict[str, Raw]) -> dict[str, Raw]:
        name = next((name for name in self.methods if name in command), None) or next(iter(command), "")
        result = await self._one_of_many(name, bytes(command.get(name, b"")))
        return {"error" if isinstance(result, Error) else name: Raw(msgspec.json.encode(result))}

    async def lines(self, body: bytes) -> bytes:
        """Carry out commands of the old form, ``{"method": …, "params": …}``, one a line, one after the other.

        Returns:
            A reply a line, in the same order: ``{"result": …}`` or ``{"error": …}``.
        Raises:
            NotJSON: a line is no command; then none is carried out.
        """
        lines = [line for line in body.splitlines() if line.strip()]
        if not lines or len(lines) > MOST_AT_ONCE:
            raise NotJSON(f"{len(lines)} commands: it is 1 to {MOST_AT_ONCE}")
        try:
            commands = [self._read.parameters(line, messages.OldCommand) for line in lines]
        except BadRequest as error:
            raise NotJSON(str(error)) from error
        replies: list[bytes] = []
        for command in commands:
            params = b"" if isinstance(command.params, UnsetType) else bytes(command.params)
            result = await self._one_of_many(command.method, params)
            replies.append(msgspec.json.encode({"error" if isinstance(result, Error) else "result": result}))
            await asyncio.sleep(0)
        return b"\n".join(replies)

    async def _one_of_many(self, name: str, body: bytes) -> messages.Result | Error:
        try:
            return await self.take(name, body)
        except NotJSON as error:
            return answer(name, BadRequest(str(error)), self.node.notices)
