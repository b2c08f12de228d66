"""What the app may ask of every node at once: to reach all sessions of a user, and to say what is there.

An order is carried out by each node for its own sessions; `Cluster.order` brings it there and the reports back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, final

import msgspec

from openline.cluster import NodeInfo
from openline.codes import DisconnectCode, UnsubscribeCode
from openline.errors import AlreadySubscribed, BrokerUnavailable, InternalError, OpenlineError, Refusal
from openline.node import Node
from openline.protocol.pushes import message_push

_log: Final = logging.getLogger("openline")


class _Send(msgspec.Struct, frozen=True, tag="send"):
    user: str
    data: bytes


class _Subscribe(msgspec.Struct, frozen=True, tag="subscribe"):
    user: str
    channel: str


class _Unsubscribe(msgspec.Struct, frozen=True, tag="unsubscribe"):
    user: str
    channel: str
    code: int
    reason: str


class _Disconnect(msgspec.Struct, frozen=True, tag="disconnect"):
    user: str
    code: int
    reason: str


class _Survey(msgspec.Struct, frozen=True, tag="survey"):
    prefix: str


_Order = _Send | _Subscribe | _Unsubscribe | _Disconnect | _Survey


class _Report(msgspec.Struct, frozen=True):
    """What came of an order on one node."""

    node: NodeInfo | None = None  #: of a survey
    channels: dict[str, int] = {}  #: of a survey: subscribers by channel
    sessions: int = 0  #: how many it concerned
    away: str = ""  #: why the broker did not do it
    refusal: tuple[int, str, bool] | None = None  #: code, message, temporary


class Survey(msgspec.Struct, frozen=True):
    """What is there, on all nodes, as each saw it when it was asked."""

    nodes: tuple[NodeInfo, ...]  #: the node that was asked first
    channels: dict[str, int]  #: subscribers of each channel that has any

    @property
    def clients(self) -> int:
        """Connections to all nodes."""
        return sum(node.clients for node in self.nodes)


#: Refusals by their codes, so that one which happened elsewhere is raised as what it was.
_REFUSALS: Final = {kind.default.number: kind for kind in Refusal.__subclasses__()}


@final
class Orders:
    """Gives orders to all nodes, and carries out those of others.

    Args:
        encode: writes a payload of the app as JSON.
    """

    def __init__(self, node: Node, encode: Callable[[object], bytes]) -> None:
        self.node = node
        self._encode = encode
        self._encoder = msgspec.msgpack.Encoder()
        self._orders: msgspec.msgpack.Decoder[_Order] = msgspec.msgpack.Decoder(_Order)
        self._reports: msgspec.msgpack.Decoder[_Report] = msgspec.msgpack.Decoder(_Report)
        node.cluster.carry_out = self._carry_out

    # --- giving ---------------------------------------------------------------------------------------------------

    async def send(self, user: str, data: object) -> int:
        """Push a message to every session of a user; give how many there were."""
        return await self._reach(_Send(user, self._encode(data)))

    async def subscribe(self, user: str, channel: str) -> int:
        """Put every session of a user into a channel."""
        return await self._reach(_Subscribe(user, channel))

    async def unsubscribe(self, user: str, channel: str, code: UnsubscribeCode) -> int:
        """Take every session of a user out of a channel."""
        return await self._reach(_Unsubscribe(user, channel, code.number, code.reason))

    async def disconnect(self, user: str, code: DisconnectCode) -> int:
        """Close every session of a user."""
        return await self._reach(_Disconnect(user, code.number, code.reason))

    async def survey(self, prefix: str) -> Survey:
        """Ask every node what is there."""
        reports = await self._give(_Survey(prefix))
        channels: dict[str, int] = {}
        for report in reports:
            for channel, count in report.channels.items():
                channels[channel] = channels.get(channel, 0) + count
        return Survey(tuple(report.node for report in reports if report.node is not None), channels)

    async def _reach(self, order: _Order) -> int:
        return sum(report.sessions for report in await self._give(order))

    async def _give(self, order: _Order) -> list[_Report]:
        self.node.check_started("an order to all nodes")
        reports = [
            self._reports.decode(report) for report in await self.node.cluster.order(self._encoder.encode(order))
        ]
        for report in reports:
            if report.away:
                raise BrokerUnavailable(report.away)
            if report.refusal is not None:
                code, message, temporary = report.refusal
                raise _REFUSALS.get(code, Refusal)(message, code=code, temporary=temporary)
        return reports

    # --- carrying out ---------------------------------------------------------------------------------------------

    async def _carry_out(self, encoded: bytes) -> bytes:
        """Carry out an order here. Never raises: what went wrong is in the report."""
        try:
            order = self._orders.decode(encoded)
            if isinstance(order, _Survey):
                report = self._look(order)
            elif isinstance(order, _Disconnect):
                report = self._disconnect(order)
            else:
                report = await self._act(order)
        except Exception:  # noqa: BLE001  # the node that gave the order waits for a report
            _log.exception("an order of another node failed")
            report = self._refused(InternalError("an order failed on a node; its log says why"))
        return self._encoder.encode(report)

    def _look(self, order: _Survey) -> _Report:
        node = self.node
        channels = {channel: count for channel, count in node.populations() if channel.startswith(order.prefix)}
        return _Report(node.describe(), channels)

    def _disconnect(self, order: _Disconnect) -> _Report:
        code = DisconnectCode(order.code, order.reason)
        # Also one that is still connecting.
        sessions = [session for session in self.node.sessions.values() if session.user == order.user]
        for session in sessions:
            session.end(code)
        return _Report(sessions=len(sessions))

    async def _act(self, order: _Send | _Subscribe | _Unsubscribe) -> _Report:
        sessions = self.node.sessions_of(order.user)
        failure: OpenlineError | None = None
        push = message_push(order.data) if isinstance(order, _Send) else None
        for session in sessions:
            try:
                if push is not None:
                    session.push(push)
                elif isinstance(order, _Subscribe):
                    await session.subscribe(order.channel)
                elif isinstance(order, _Unsubscribe):
                    await session.unsubscribe(order.channel, UnsubscribeCode(order.code, order.reason))
            except AlreadySubscribed:
                continue
            except OpenlineError as error:
                failure = failure or error  # the user's other sessions have theirs all the same
        return _Report(sessions=len(sessions)) if failure is None else self._refused(failure)

    def _refused(self, error: OpenlineError) -> _Report:
        if isinstance(error, BrokerUnavailable):
            return _Report(away=f"{error} (on node {self.node.process})")
        if not isinstance(error, Refusal):
            error = InternalError(str(error))
        return _Report(refusal=(error.code.number, error.code.message, error.code.temporary))
