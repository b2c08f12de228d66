"""The hub: what an app holds. It declares channels, gives the router, and publishes from anywhere."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar, final, overload

from fastapi import APIRouter, WebSocket

from openline import workers
from openline.api.desk import Desk
from openline.api.procedures import Procedure
from openline.api.routes import BODY_BYTES, ErrorMode, api_router
from openline.channel import Channel, Kept, followed
from openline.cluster import NodeInfo
from openline.commands import Commands
from openline.counters import Counters
from openline.engines import engine
from openline.errors import DeclarationError, UsageError
from openline.following import Following
from openline.handlers import Handler
from openline.line import Line, Lines
from openline.names import Pattern
from openline.node import Node
from openline.options import ChannelOptions, Heartbeat, History, JoinLeave, Limits, Recovery, Slow
from openline.orders import Orders, Survey
from openline.origins import Origins
from openline.payload import Payload
from openline.publication import Position, checked_tags
from openline.reception import Reception
from openline.router import connection_router
from openline.routes.door import Door
from openline.rules import ChannelRules
from openline.session import Session
from openline.timers import Clock, SystemClock
from openline.tokens import JWT
from openline.user import User
from openline.wires.ending import forget, watch

_log: Final = logging.getLogger("openline")

Message = TypeVar("Message")
Function = TypeVar("Function", bound=Callable[..., Any])


@final
class Hub:
    """Channels that many clients hold open at once, inside a FastAPI app.

    Args:
        broker: where publications travel: ``memory://`` within this process; ``valkey://host``, ``nats://host`` or
            another URL of an engine between any number of processes and machines (docs/scaling.md has them all).
        auth: verifies the tokens clients connect and subscribe with. Without it, and without `on_connect`, everyone
            is let in as anonymous.
        limits: what clients may cost.
        origins: the pages that may open a line, beside those of the host they open it to: origins as a browser writes
            them, ``https://app.example.com``; ``https://*.example.com`` for all below a domain, ``http://localhost:*``
            for any port, ``"null"`` for pages without an origin, ``"*"`` for every page. Clients that are no browser
            send no origin, and are let in.
        heartbeat: how dead peers are found.
        compression: compress messages from 256 bytes on, for clients that offer ``permessage-deflate``, as browsers do.
            One is compressed once for all its clients. On the fast wire; elsewhere it is the server that compresses.
        clock: the time; tests bring their own.
    Raises:
        DeclarationError: the broker's URL is none that is known, `origins` is no list, or something of it no origin.
    """

    def __init__(
        self,
        broker: str = "memory://",
        *,
        auth: JWT | None = None,
        limits: Limits | None = None,
        origins: Sequence[str] = (),
        heartbeat: Heartbeat | None = None,
        compression: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._clock: Clock = SystemClock() if clock is None else clock
        self._limits = Limits() if limits is None else limits
        self._url = broker
        self._engine = engine(broker, idempotency_seconds=self._limits.idempotency_seconds, now=self._clock.wall)
        self._node = Node(
            self._engine.broker,
            self._engine.presence,
            limits=self._limits,
            heartbeat=Heartbeat() if heartbeat is None else heartbeat,
            clock=self._clock,
        )
        self._auth = auth
        self._compression = compression
        self._reception = Reception(auth, name_length=self._limits.name_length, now=self._clock.wall)
        self._commands = Commands(self._node, self._reception)
        self._door = Door(self._commands, lambda: self._reception.reads_handshake, Origins(origins))
        self._orders = Orders(self._commands)
        self._lines = Lines(self._door, self._reception)
        self._following = Following(self._node, watch=watch, forget=forget)
        self._lifespans = 0
        self._router: APIRouter | None = None

    # --- declarations ---------------------------------------------------------------------------------------------

    @overload
    def channel(
        self,
        pattern: str,
        message: type[Message],
        *,
        history: History | None = ...,
        recovery: Recovery = ...,
        presence: bool = ...,
        join_leave: JoinLeave = ...,
        publish: bool = ...,
        protected: bool = ...,
        slow: Slow = ...,
        delta: bool = ...,
        filters: bool = ...,
    ) -> Channel[Message]: ...

    @overload
    def channel(
        self,
        pattern: str,
        message: None = None,
        *,
        history: History | None = ...,
        recovery: Recovery = ...,
        presence: bool = ...,
        join_leave: JoinLeave = ...,
        publish: bool = ...,
        protected: bool = ...,
        slow: Slow = ...,
        delta: bool = ...,
        filters: bool = ...,
    ) -> Channel[Any]: ...

    def channel(
        self,
        pattern: str,
        message: Any = None,
        *,
        history: History | None = None,
        recovery: Recovery = "stream",
        presence: bool = False,
        join_leave: JoinLeave = False,
        publish: bool = False,
        protected: bool = False,
        slow: Slow = "disconnect",
        delta: bool = False,
        filters: bool = False,
    ) -> Channel[Any]:
        """Declare the channels of one pattern.

        Args:
            pattern: a name whose placeholders match one part (``room:{name}``) or the rest (``files:{path:path}``).
            message: any type Pydantic validates; None for any JSON, ``bytes`` for raw payloads.
            history: how much is kept for those who come back; None keeps nothing.
            recovery: "stream" brings every subscriber all it missed, "cache" the newest publication, "asked" lets
                clients choose. Only with history.
            presence: clients may ask who is here.
            join_leave: clients that ask for it are told who comes and goes; with "forced" all that subscribe are.
            publish: clients may publish without an `on_publish` handler; the message is validated all the same. Where
                `on_subscribe` or a token guards the channel, only those who are subscribed may.
            protected: clients need a subscription token.
            slow: what becomes of a client that does not keep up: "disconnect" closes it with 3008, and it resumes;
                "drop_oldest" and "latest_only" drop publications for it instead, and are counted. Those two only
                without history, as who recovers is promised everything. Joins and leaves are never dropped.
            delta: clients that ask for it are sent what has changed since the publication before, where that is
                shorter. Only with history.
            filters: clients may say by tags which publications they want; others are not sent to them.
        Raises:
            DeclarationError: the pattern is none, was declared before, or an option cannot work.
        """
        if protected and self._auth is None:
            raise DeclarationError(f"channel {pattern!r} is protected, but the hub has no auth to verify tokens with")
        options = ChannelOptions(
            raw=message is bytes,
            history=history,
            recovery=recovery,
            presence=presence,
            join_leave=join_leave,
            protected=protected,
            slow=slow,
            delta=delta,
            filters=filters,
        )
        rules = ChannelRules(
            Pattern(pattern), Payload(message), options, publish=publish, auth=self._auth, now=self._clock.wall
        )
        channel: Channel[Any] = Channel(self._node, rules, self._following)
        self._reception.declare(rules)
        return channel

    def on_connect(self, function: Function) -> Function:
        """Decide on each client that wants to connect, after its token was verified.

        The handler takes the `Session`, the client's ``data``, ``token: str``, ``name: str``, ``version: str``,
        ``headers: dict[str, str]`` (in place of those that browsers do not let a page send; the client's word alone),
        ``channels: list[str]`` (it has positions in, or asks for) and what FastAPI injects. It returns None (who the
        token said, else anonymous), a user id, or `Accept`, or raises to refuse.

        Raises:
            DeclarationError: a parameter is none of these, or there is a handler already.
        """
        self._refuse_second(self._reception.connecting, "on_connect")
        supplied = {"token": str, "name": str, "version": str, "headers": dict[str, str], "channels": list[str]}
        self._reception.connecting = Handler(
            function, where="on_connect", message=Payload(None), message_name="data", supplied=supplied
        )
        return function

    def on_refresh(self, function: Function) -> Function:
        """Decide on each connection that runs out, as `Accept` said when; without a handler it ends with 3005.

        Connections by token are not asked about: their clients bring a new token. The handler has
        ``limits.expiry_grace_seconds`` to answer, at least 5, and is asked about one connection once at a time.

        It takes the `Session` and what FastAPI injects. It returns a new expiry (unix seconds, or an aware datetime),
        `Accept` of an expiry, info and meta, or None: the connection ends, as it does when the handler raises.

        Raises:
            DeclarationError: a parameter is none of these, or there is a handler already.
        """
        self._refuse_second(self._reception.refreshing, "on_refresh")
        self._reception.refreshing = Handler(function, where="on_refresh")
        return function

    def on_disconnect(self, function: Function) -> Function:
        """Hear of each connection that has ended, after it was accepted.

        The handler takes the `Session`, ``code: int``, ``reason: str`` and what FastAPI injects.

        Raises:
            DeclarationError: a parameter is none of these, or there is a handler already.
        """
        self._refuse_second(self._reception.disconnecting, "on_disconnect")
        self._reception.disconnecting = Handler(function, where="on_disconnect", supplied={"code": int, "reason": str})
        return function

    def on_message(self, function: Function) -> Function:
        """Take messages that clients send outside every channel; without a handler they are disconnected for it.

        The handler takes the message, the `Session` and what FastAPI injects. What it returns goes nowhere.

        Raises:
            DeclarationError: a parameter is none of these, or there is a handler already.
        """
        self._refuse_second(self._reception.messaging, "on_message")
        self._reception.messaging = Handler(function, where="on_message", message=Payload(None))
        return function

    def rpc(self, method: str = "") -> Callable[[Function], Function]:
        """Answer a remote procedure call: what the handler returns is the reply.

        The handler takes the client's data as its message, ``method: str``, the `Session` and what FastAPI injects.

        Args:
            method: "" is every method that has no handler of its own.

        Raises:
            DeclarationError: a parameter is none of these, or the method has a handler already.
        """

        def declare(function: Function) -> Function:
            self._refuse_second(self._reception.procedures.get(method), f"rpc {method!r}")
            where = f"rpc {method!r}"
            procedure = Handler(function, where=where, message=Payload(None), supplied={"method": str})
            self._reception.declare_procedure(method, procedure)
            return function

        return declare

    @staticmethod
    def _refuse_second(handler: Handler | None, event: str) -> None:
        if handler is not None:
            raise DeclarationError(f"the hub has a handler of {event} already: {handler!r}")

    # --- life -----------------------------------------------------------------------------------------------------

    @property
    def router(self) -> APIRouter:
        """The routes under ``/connection/…`` and the hub's start and stop: give it to `FastAPI.include_router`."""
        if self._router is None:
            self._router = connection_router(self._door, self.running, compression=self._compression)
        return self._router

    def api(
        self,
        key: str | Sequence[str],
        *,
        procedures: Mapping[str, Procedure] | None = None,
        error_mode: ErrorMode = "body",
        body_bytes: int = BODY_BYTES,
    ) -> APIRouter:
        """Make the server HTTP API for back ends in any language: give it to `FastAPI.include_router`.

        Its routes are ``POST /api/publish`` and so on; docs/api.md has them all. It starts and stops the hub too.

        Args:
            key: who has it may do everything; several while one replaces another.
            procedures: functions that back ends call with ``rpc``, by method. Each takes the parameters as its one
                parameter, validated by its annotation, or has none; a plain function runs in a thread.
            error_mode: "body" answers errors with status 200 and ``{"error": …}``; "transport" with a status of their
                own, as it does for requests with the header ``X-Centrifugo-Error-Mode: transport``.
            body_bytes: of a request, at most; past it the answer is 413.
        Raises:
            DeclarationError: a key cannot be sent in a header, there is none, or an option makes no sense.
        """
        desk = Desk(self._node, self._reception, self._orders, procedures or {})
        return api_router(desk, key, self.running, error_mode=error_mode, body_bytes=body_bytes)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the hub until the block ends. Entering it again, as a router included twice does, changes nothing."""
        if self._lifespans and not self._node.started:
            self._lifespans = 0  # a loop that was killed never came to the end of its lifespan
        if self._lifespans and not self._node.runs_here:
            raise UsageError("the hub runs in another event loop already: a hub belongs to one at a time")
        self._lifespans += 1
        try:
            if self._lifespans > 1:
                yield
            else:
                workers.check(self._url)
                async with self._engine.around(), self._node.running(), self._following.running():
                    yield
        finally:
            self._lifespans -= 1

    # --- in the app's own routes ----------------------------------------------------------------------------------

    def plain(
        self,
        websocket: WebSocket,
        *,
        channels: Iterable[str] = (),
        user: str = "",
        info: Any = None,
        subprotocol: str | None = None,
    ) -> AbstractAsyncContextManager[Line]:
        """Accept a WebSocket of an ordinary route, and have its client in channels with no protocol around messages.

        What is published there goes to the client, one WebSocket message each: a text as that text, all else as its
        JSON text, in raw channels as binary messages. Heartbeats are the WebSocket's own. Origins, limits, slow clients
        and presence are as for every client of the hub. No handler is asked who may come in or subscribe: the route
        decides, before this call. There are no positions: who comes back begins anew.

        Where the block ends the socket is closed, with 1000 or, where it raised, 1011.

        Args:
            channels: their full names; no subscriber is told of it but as the channels' options say.
            user: the user's id; "" is anonymous.
            info: what others see of the client in presence and joins; what Pydantic can write as JSON.
            subprotocol: named in the answer to the handshake; one the client offered.
        Raises:
            UsageError: the WebSocket was accepted already.
            UnknownChannel: no declared pattern matches a channel; the handshake is not answered.
            HTTPException: the hub does not run, the page may not connect, or there is no place: FastAPI refuses the
                handshake with it. Where the server cannot do that, `WebSocketException`.
            BrokerUnavailable: the client could not be put into its channels; the socket is closed.
        """
        return self._lines.open(websocket, channels, user, info, subprotocol)

    def follow(self, channel: str, *, since: Position | None = None) -> AsyncGenerator[Kept[Any], None]:
        """Follow a channel from within the app, by its full name; see `Channel.follow`.

        Raises:
            UnknownChannel: no declared pattern matches.
        """
        return followed(self._following, self._reception.declared(channel), channel, since)

    # --- from anywhere in the app ---------------------------------------------------------------------------------

    async def publish(
        self,
        channel: str,
        data: Any,
        *,
        skip_history: bool = False,
        tags: Mapping[str, str] | None = None,
        idempotency_key: str = "",
        version: int = 0,
        version_epoch: str = "",
    ) -> Position:
        """Publish to every subscriber of a channel, by its full name; see `Channel.publish`.

        Raises:
            UnknownChannel: no declared pattern matches.
        """
        rules = self._reception.declared(channel)
        return await self._node.publish(
            channel,
            rules.payload.encode(data),
            rules.options,
            skip_history=skip_history,
            tags=None if tags is None else checked_tags(tags),
            idempotency_key=idempotency_key,
            version=version,
            version_epoch=version_epoch,
        )

    def user(self, identifier: str) -> User:
        """Reach everything one user has open."""
        return User(self._orders, identifier)

    @property
    def nodes(self) -> tuple[NodeInfo, ...]:
        """The nodes of this hub that are running, this one first; of the others what they said in the last seconds.

        Empty while this one does not run.
        """
        return self._node.cluster.nodes if self._node.started else ()

    async def survey(self, prefix: str = "") -> Survey:
        """Ask every node who is there: clients of each node, subscribers of each channel.

        Args:
            prefix: of the names of the channels to be listed; "" for all.
        Raises:
            BrokerUnavailable: a node did not answer in time; the message names it.
        """
        return await self._orders.survey(prefix)

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps the hub from working as of now, in words; empty while all works. For a health check.

        A route that answers 503 with them while there are any takes a node out of the load balancer. The words are for
        whoever looks after the server: they name its parts.
        """
        return self._node.problems

    @property
    def sessions(self) -> Mapping[str, Session]:
        """The connected clients of this node, by session id."""
        return self._node.sessions

    @property
    def counters(self) -> Counters:
        """What this node has counted."""
        return self._node.counters

    def __repr__(self) -> str:
        state = "running" if self._node.started else "not running"
        return f"<Hub {state}, {len(self._node.sessions)} sessions>"
