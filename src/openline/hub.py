"""The hub: what an app holds. It declares channels, gives the router, and publishes from anywhere."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar, final

from fastapi import APIRouter, WebSocket

from openline import workers
from openline.api.desk import Desk
from openline.api.procedures import Procedure
from openline.api.routes import BODY_BYTES, ErrorMode, api_router
from openline.channel import Kept, followed
from openline.cluster import NodeInfo
from openline.commands import Commands
from openline.counters import Counters
from openline.declarations import Declarations
from openline.engines import engine
from openline.errors import UsageError
from openline.following import Following
from openline.line import Line, Lines
from openline.node import Node
from openline.options import Heartbeat, Limits
from openline.orders import Orders, Survey
from openline.origins import Origins
from openline.publication import Position, checked_tags
from openline.reception import Reception
from openline.router import connection_router
from openline.routes.door import Door
from openline.session import Session
from openline.timers import Clock, SystemClock
from openline.tokens import JWT
from openline.user import User
from openline.wires.ending import forget, watch

_log: Final = logging.getLogger("openline")

Message = TypeVar("Message")
Function = TypeVar("Function", bound=Callable[..., Any])


@final
class Hub(Declarations):
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
        clock = SystemClock() if clock is None else clock
        limits = Limits() if limits is None else limits
        self._url = broker
        self._engine = engine(broker, idempotency_seconds=limits.idempotency_seconds, now=clock.wall)
        node = Node(
            self._engine.broker,
            self._engine.presence,
            limits=limits,
            heartbeat=Heartbeat() if heartbeat is None else heartbeat,
            clock=clock,
        )
        reception = Reception(auth, name_length=limits.name_length, now=clock.wall)
        super().__init__(node, reception, Following(node, watch=watch, forget=forget))
        self._compression = compression
        self._commands = Commands(node, reception)
        self._door = Door(self._commands, lambda: reception.reads_handshake, Origins(origins))
        self._orders = Orders(self._commands)
        self._lines = Lines(self._door, reception)
        self._lifespans = 0
        self._router: APIRouter | None = None

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
