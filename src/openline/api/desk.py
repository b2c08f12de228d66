"""Where requests are taken: by the name of a method and the bytes of its parameters, one or many at a time.

Invariant: nothing is raised but `NotJSON`. Whatever else went wrong is an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, final

import msgspec
from msgspec import Raw, UnsetType

from openline.api import messages
from openline.api.answers import answer
from openline.api.messages import Error
from openline.api.methods import ABREAST, Methods
from openline.api.procedures import Procedure, Procedures
from openline.api.reading import MOST_AT_ONCE, Command, NotJSON, Reader
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


#: Bytes of the commands of a batch that are under way at the same time; a single one may have more.
_ABREAST_BYTES: Final = 256 * 1024


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
        self._read = Reader(node.limits, (*self.methods, *sorted(NOT_OFFERED)))

    async def take(self, name: str, body: bytes) -> messages.Result | Error:
        """Carry out one method; give its result, or why there is none.

        Raises:
            NotJSON: the parameters are none.
        """
        self.node.counters.api_requests += 1
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
            return self._failed(name, error)

    def _failed(self, name: str, error: Exception) -> Error:
        return answer(name, error, self.node.counters, self.node.notices)

    # --- many at a time -------------------------------------------------------------------------------------------

    async def batch(self, body: bytes) -> messages.BatchResult | Error:
        """Carry out several commands, one after the other or at the same time.

        An error of one keeps no other from being carried out. A batch in a batch is error 104.

        Raises:
            NotJSON: the parameters are none.
        """
        try:
            request = await self._read.commands(body)
        except BadRequest as error:
            return self._failed("batch", error)
        replies: list[dict[str, Raw]] = []
        for some in _abreast(request.commands):
            if request.parallel:
                replies += await asyncio.gather(*(self._reply(*command) for command in some))
            else:
                replies += [await self._reply(*command) for command in some]
                await asyncio.sleep(0)  # where nothing in them waits, the node has other things to do
        return messages.BatchResult(replies=replies)

    async def _reply(self, name: str, body: bytes) -> dict[str, Raw]:
        result = await self._one_of_many(name, body)
        return {"error" if isinstance(result, Error) else name: Raw(msgspec.json.encode(result))}

    async def lines(self, body: bytes) -> bytes:
        """Carry out commands of the old form, ``{"method": …, "params": …}``, one a line, one after the other.

        Returns:
            A reply a line, in the same order: ``{"result": …}`` or ``{"error": …}``.
        Raises:
            NotJSON: a line is no command; then none is carried out.
        """
        # Blank ones may be among them, but not so many that looking at them takes its time.
        lines = [line.strip() for line in body.split(b"\n", 2 * MOST_AT_ONCE)]
        commands: list[messages.OldCommand] = []
        if not any(lines) or len(lines) - lines.count(b"") > MOST_AT_ONCE or b"\n" in lines[-1]:
            raise NotJSON(f"commands, one a line, are 1 to {MOST_AT_ONCE}")
        try:
            for line in filter(None, lines):
                commands.append(self._read.parameters(line, messages.OldCommand))
                await asyncio.sleep(0)
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
            return self._failed(name, BadRequest(str(error)))


def _abreast(commands: Sequence[Command]) -> Iterator[list[tuple[str, bytes]]]:
    """Give the methods and parameters of commands, as many at once as are no burden on those who wait."""
    some: list[tuple[str, bytes]] = []
    size = 0
    for command in commands:
        name, body = command.given()
        if some and (len(some) == ABREAST or size + len(body) > _ABREAST_BYTES):
            yield some
            some, size = [], 0
        some.append((name, body))
        size += len(body)
    if some:
        yield some
