"""The first command of a client, and what prolongs its connection: who is it, what it begins with, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from openline import codes
from openline.application import Application, Rules, Welcome
from openline.beginnings import beginnings
from openline.departures import Departures
from openline.errors import Disconnect, Expired
from openline.life import State
from openline.membership import Joining, Membership, time_to_live
from openline.node import Node
from openline.protocol.messages import (
    ConnectRequest,
    ConnectResult,
    Push,
    RefreshPush,
    RefreshRequest,
    RefreshResult,
    Reply,
    SubscribeRequest,
    SubscribeResult,
    raw,
)
from openline.protocol.pushes import result_reply
from openline.protocol.unidirectional import Opening
from openline.publication import Position
from openline.session import Session
from openline.version import VERSION

#: Channels the app was asked about and said yes to, with what was asked.
_Asked = dict[str, tuple[Rules, SubscribeRequest]]


@final
class Connecting:
    """Lets clients in, and lets them stay."""

    __slots__ = ("_application", "_departures", "_membership", "_node")

    def __init__(self, node: Node, application: Application, membership: Membership, departures: Departures) -> None:
        self._node = node
        self._application = application
        self._membership = membership
        self._departures = departures

    async def connect(self, session: Session, identifier: int, request: ConnectRequest) -> None:
        """Let a client in with everything it begins with, or not at all."""
        welcome = await self._application.welcome(session, request)
        _name(session, welcome)
        self._departures.accepted(session, request)
        await self.let_in(session, identifier, request, welcome)

    async def let_in(self, session: Session, identifier: int, request: ConnectRequest, welcome: Welcome) -> None:
        """Let a client in who is welcome; see `connect`."""
        asked: _Asked = {}
        try:
            decided = await self._enter(session, identifier, request, welcome, asked)
        except Exception as error:
            for channel, (rules, wish) in asked.items():
                self._departures.kept_out(session, channel, rules, wish, error)
            raise
        entered: list[Joining] = []
        for joining, _, position in decided:
            if session.takes_commands:
                joining.complete(position, server_side=True)
                entered.append(joining)
                continue
            await self._membership.abandon(joining)  # ended, by one of those before it
            channel = joining.topic.channel
            if channel in asked:
                self._departures.kept_out(session, channel, *asked[channel])
        for joining in entered:
            await self._departures.hear(self._membership.announce(joining))

    async def _enter(
        self, session: Session, identifier: int, request: ConnectRequest, welcome: Welcome, asked: _Asked
    ) -> list[tuple[Joining, SubscribeResult, Position]]:
        """Do everything up to the answer, or nothing; give what is to be completed behind it.

        Args:
            asked: the channels the app was asked about and said yes to are put in there.
        """
        result = self._result(session, welcome)
        _name(session, welcome)
        self._expire(session, welcome.expires_at, client_refresh=welcome.client_refresh and not session.one_way)
        with self._node.places.arriving(session):
            joinings = await self._prepare(session, request, welcome, asked)
            try:
                decided = self._decide(request, joinings)
                result.subs = {joining.topic.channel: sub_result for joining, sub_result, _ in decided}
                if session.life is State.ENDED or not session.push(result_reply(identifier, result)):
                    raise Disconnect(codes.CLOSED_NORMAL)
            except Exception:
                await self._membership.abandon(*joinings)
                raise
            session.connected()
            self._node.identify(session)
        return decided

    def _decide(
        self, request: ConnectRequest, joinings: Sequence[Joining]
    ) -> list[tuple[Joining, SubscribeResult, Position]]:
        """Decide on every subscription of now. What was missed follows later where it is too much for one answer."""
        decided: list[tuple[Joining, SubscribeResult, Position]] = []
        deferred = isinstance(request, Opening) and request.deferred
        room = self._node.limits.outbox_bytes // 2
        for joining in joinings:
            result, position = joining.decide()
            if deferred or joining.brought_bytes > room:
                position = joining.defer(result, position)
            else:
                room -= joining.brought_bytes
            decided.append((joining, result, position))
        return decided

    def _result(self, session: Session, welcome: Welcome) -> ConnectResult:
        result = ConnectResult(client=session.id, version=VERSION, data=raw(welcome.data))
        if not session.native_heartbeat:
            result.ping, result.pong = self._node.heartbeat.ping_seconds, not session.one_way
        if session.secret:
            result.session, result.node = session.secret, self._node.id
        if welcome.expires_at is not None:
            ttl = time_to_live(welcome.expires_at, self._node.clock.wall())
            if welcome.client_refresh:
                result.expires, result.ttl = True, ttl
        return result

    async def _prepare(
        self, session: Session, request: ConnectRequest, welcome: Welcome, asked: _Asked
    ) -> list[Joining]:
        """Begin every server-side subscription of a connect, or none."""
        begun = await beginnings(self._node, self._application, session, request, welcome, asked)
        joinings: list[Joining] = []
        try:
            for channel, (rules, wish, admission) in begun.items():
                joinings.append(await self._membership.begin(session, channel, rules, wish, admission))
        except BaseException:
            await self._membership.abandon(*joinings)
            raise
        return joinings

    def _expire(self, session: Session, expires_at: float | None, *, client_refresh: bool) -> None:
        session.client_refresh = client_refresh
        session.ends_at = None
        if expires_at is not None:
            session.ends_at = self._node.ends_at(expires_at, client_refresh=client_refresh)

    async def refresh(self, session: Session, identifier: int, request: RefreshRequest) -> None:
        """Let a client stay connected, by a new token."""
        if not request.token or not session.client_refresh:
            raise Disconnect(codes.CLOSED_BAD_REQUEST)
        expires_at = await self._application.refresh(session, request.token)
        result = RefreshResult(client=session.id, version=VERSION)
        if expires_at is not None:
            result.expires, result.ttl = True, time_to_live(expires_at, self._node.clock.wall())
        self._expire(session, expires_at, client_refresh=True)
        session.schedule()
        session.push(result_reply(identifier, result))

    def prolong(self, session: Session, expires_at: float | None) -> None:
        """Say anew when a connection ends, as the server wants it, and tell its client.

        Args:
            expires_at: unix seconds; None is never. Once it is past, the connection ends.
        """
        push = RefreshPush()
        if expires_at is not None:
            try:
                push = RefreshPush(expires=True, ttl=time_to_live(expires_at, self._node.clock.wall()))
            except Expired:
                session.end(codes.CLOSED_CONNECTION_EXPIRED)
                return
        self._expire(session, expires_at, client_refresh=session.client_refresh)
        session.schedule()
        session.push(Reply(push=Push(refresh=push)))


def _name(session: Session, welcome: Welcome) -> None:
    """Say who it is: also of one that is gone, for whoever hears of its end."""
    session.user, session.encoded_info, session.encoded_meta = welcome.user, welcome.info, welcome.meta
