"""What the app may ask of every node at once: to reach sessions of a user, and to say what is there.

An order is carried out by each node for its own sessions; `Cluster.order` brings it there and the reports back.

Nodes of different versions may be in one cluster. One that is given an order it does not know, or that says more than
it knows, does not carry out the half it understood: it reports an error, and the giver is told.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, final

import msgspec

from openline.application import Admission
from openline.cluster import NodeInfo
from openline.codes import DisconnectCode, UnsubscribeCode
from openline.commands import Commands
from openline.errors import AlreadySubscribed, BrokerUnavailable, InternalError, OpenlineError, Refusal
from openline.life import State
from openline.protocol.pushes import message_push
from openline.publication import Position
from openline.session import Session

_log: Final = logging.getLogger("openline")


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom an order concerns: all sessions of a user, or those of them that are this one."""

    user: str | None  #: None for whoever it is
    client: str = ""  #: the session's id; "" for any
    session: str = ""  #: the session's secret; "" for any

    def means(self, session: Session) -> bool:
        """Tell whether a session of the user is concerned."""
        return (
            self.user in (None, session.user)
            and self.client in ("", session.id)
            and self.session in ("", session.secret)
        )


class _Send(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="send"):
    to: Target
    data: bytes


class _Subscribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="subscribe"):
    to: Target
    channel: str
    admission: Admission
    since: Position | None


class _Unsubscribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="unsubscribe"):
    to: Target
    channel: str  #: "" for all
    code: int
    reason: str


class _Disconnect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="disconnect"):
    to: Target
    code: int
    reason: str
    spared: tuple[str, ...]  #: session ids


class _Refresh(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="refresh"):
    to: Target
    expires_at: float | None
    info: bytes


class _Survey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="survey"):
    prefix: str


_Order = _Send | _Subscribe | _Unsubscribe | _Disconnect | _Refresh | _Survey


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
        commands: carries out what is done to a session.
    """

    def __init__(self, commands: Commands) -> None:
        self.node = commands.node
        self._commands = commands
        self._encoder = msgspec.msgpack.Encoder()
        self._orders: msgspec.msgpack.Decoder[_Order] = msgspec.msgpack.Decoder(_Order)
        self._reports: msgspec.msgpack.Decoder[_Report] = msgspec.msgpack.Decoder(_Report)
        self.node.cluster.carry_out = self._carry_out

    # --- giving ---------------------------------------------------------------------------------------------------

    async def send(self, to: Target, data: object) -> int:
        """Push a message to sessions of a user; give how many there were."""
        return await self._reach(_Send(to, self._commands.encode(data)))

    async def subscribe(
        self, to: Target, channel: str, admission: Admission | None = None, since: Position | None = None
    ) -> int:
        """Put sessions of a user into a channel; see `Commands.subscribe`."""
        return await self._reach(_Subscribe(to, channel, Admission() if admission is None else admission, since))

    async def unsubscribe(self, to: Target, channel: str, code: UnsubscribeCode) -> int:
        """Take sessions of a user out of a channel, or out of all, which is ""."""
        return await self._reach(_Unsubscribe(to, channel, code.number, code.reason))

    async def disconnect(self, to: Target, code: DisconnectCode, *, spared: Sequence[str] = ()) -> int:
        """Close sessions of a user, save those of these ids."""
        return await self._reach(_Disconnect(to, code.number, code.reason, tuple(spared)))

    async def refresh(self, to: Target, expires_at: float | None, info: bytes = b"") -> int:
        """Say anew when sessions of a user end, and what others see of them; see `Commands.refresh`."""
        return await self._reach(_Refresh(to, expires_at, info))

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
        meant = [session for session in self.node.sessions.values() if order.to.means(session)]
        sessions = [session for session in meant if session.id not in order.spared]
        for session in sessions:
            session.end(code)
        return _Report(sessions=len(sessions))

    async def _act(self, order: _Send | _Subscribe | _Unsubscribe | _Refresh) -> _Report:
        user = order.to.user
        of_user = tuple(self.node.sessions.values()) if user is None else self.node.sessions_of(user)
        sessions = [one for one in of_user if one.life is State.CONNECTED and order.to.means(one)]
        failure: OpenlineError | None = None
        for session in sessions:
            try:
                await self._do(order, session)
            except AlreadySubscribed:
                continue
            except OpenlineError as error:
                failure = failure or error  # the user's other sessions have theirs all the same
        return _Report(sessions=len(sessions)) if failure is None else self._refused(failure)

    async def _do(self, order: _Send | _Subscribe | _Unsubscribe | _Refresh, session: Session) -> None:
        if isinstance(order, _Send):
            session.push(message_push(order.data))
        elif isinstance(order, _Subscribe):
            await self._commands.subscribe(session, order.channel, order.admission, order.since)
        elif isinstance(order, _Unsubscribe):
            code = UnsubscribeCode(order.code, order.reason)
            # "" itself is for the joins that are under way.
            for channel in (order.channel,) if order.channel else (*session.channels, ""):
                await self._commands.unsubscribe(session, channel, code)
        else:
            await self._commands.refresh(session, order.expires_at, order.info)

    def _refused(self, error: OpenlineError) -> _Report:
        if isinstance(error, BrokerUnavailable):
            return _Report(away=f"{error} (on node {self.node.process})")
        if not isinstance(error, Refusal):
            error = InternalError(str(error))
        return _Report(refusal=(error.code.number, error.code.message, error.code.temporary))
