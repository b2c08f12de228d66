"""The standalone server: a hub made of settings, in an app of its own, on uvicorn with the fast wire.

It is one process. More of them, on one machine or many, are more such servers behind a proxy, with one engine.
"""

from __future__ import annotations

import logging
import logging.config
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Any, Final, TypeVar, get_args

import uvicorn
from fastapi import FastAPI, Response

from openline.access_log import without_tokens
from openline.admission import Accept
from openline.backend.events import BackendEvents
from openline.channel import Channel
from openline.errors import DeclarationError, MissingExtra, PermissionDenied
from openline.hub import Hub
from openline.listening import CannotListen, listen, shown
from openline.names import Pattern
from openline.session import Session
from openline.settings import ChannelEvent, ChannelSettings, Settings, SettingsError
from openline.tokens import JWT
from openline.version import VERSION

_log: Final = logging.getLogger("openline")

_Made = TypeVar("_Made")


def serve(settings: Settings) -> bool:
    """Run the server until it is told to end. It says where it listens once it does.

    Returns:
        Whether it did start; if not, the log says why.
    Raises:
        SettingsError: something in the settings cannot work here.
    """
    options = settings.server
    logs = _logging(options.log_level)
    logging.config.dictConfig(logs)  # now already: there are things to say before uvicorn begins
    app = application(settings)
    try:
        listeners = listen(options.host, options.port)
    except CannotListen as error:
        raise SettingsError(f"{settings.source}: server: {error}") from None
    config = uvicorn.Config(
        app,
        http="openline.uvicorn_http:HTTPProtocol",
        ws="openline.uvicorn:WebSocketProtocol",
        workers=1,
        lifespan="on",
        log_config=logs,
        log_level=options.log_level,
        access_log=options.access_log,
        forwarded_allow_ips=options.trusted_proxies,
        timeout_graceful_shutdown=options.shutdown_seconds,
    )
    server = _Server(config, ", ".join(f"http://{shown(listener)}" for listener in listeners))
    try:
        server.run(sockets=listeners)
    except KeyboardInterrupt:
        pass  # raised by uvicorn after it has ended in order, for programs around it
    finally:
        for listener in listeners:
            listener.close()
    return server.started


class _Server(uvicorn.Server):
    """Says where it listens: uvicorn does so only where it has taken the one address of its config itself."""

    def __init__(self, config: uvicorn.Config, addresses: str) -> None:
        super().__init__(config)
        self._addresses = addresses

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets=sockets)
        if self.started:
            _log.info("Openline %s running on %s (Press CTRL+C to quit)", VERSION, self._addresses)


def _logging(level: str) -> dict[str, Any]:
    """Have Openline's own log written as uvicorn's is."""
    config = without_tokens(uvicorn.config.LOGGING_CONFIG)
    config["loggers"]["openline"] = {"handlers": ["default"], "level": level.upper(), "propagate": False}
    return config


# --- the app ----------------------------------------------------------------------------------------------------------


def application(settings: Settings) -> FastAPI:
    """Make the app of these settings: the hub's routes, the server API where it has a key, and ``/health``.

    Nothing is connected yet.

    Raises:
        SettingsError: an option cannot be, or two exclude each other; it names the table and why.
    """
    events = _made(settings, "events", partial(_events, settings))
    hub = hub_of(settings, events)
    keys = settings.api.key

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # Around the hub's own, which the router brings: the back end hears of the last to leave.
        async with nullcontext() if events is None else events.running():
            yield

    app = FastAPI(
        title="Openline",
        lifespan=lifespan,
        version=VERSION,
        openapi_url=None if keys is None else "/openapi.json",  # there is nothing else to describe
        redoc_url=None,
    )
    app.include_router(hub.router)
    if keys is not None:
        secrets = [key.get_secret_value() for key in keys]
        make_api = partial(hub.api, secrets, error_mode=settings.api.error_mode, body_bytes=settings.api.body_bytes)
        app.include_router(_made(settings, "api", make_api))

    @app.get("/health", include_in_schema=False)
    async def health(response: Response) -> dict[str, object]:
        """Say whether this node works: 503 takes it out of a load balancer."""
        response.status_code = 503 if hub.problems else 200
        return {"problems": hub.problems}

    return app


def hub_of(settings: Settings, events: BackendEvents | None) -> Hub:
    """Make the hub of these settings, with all its channels.

    Args:
        events: what is put to a back end; None for nothing.
    Raises:
        SettingsError: as `application` does.
    """
    server = settings.server
    auth = _made(settings, "auth", partial(_auth, settings))
    hub = _made(
        settings,
        "server",
        lambda: Hub(
            server.broker,
            auth=auth,
            limits=settings.limits,
            origins=server.allowed_origins,
            heartbeat=settings.heartbeat,
            compression=server.compression,
        ),
    )
    personal: list[Pattern] = []
    asked: list[tuple[Channel[Any], list[ChannelEvent] | None]] = []
    # Those that are one user's alone come first: no other pattern may let somebody else in.
    for channel in sorted(settings.channels, key=lambda channel: not channel.personal):
        where = f'channels "{channel.pattern}"'
        declared = _made(settings, where, partial(_declared, hub, settings, channel))
        if channel.personal:
            personal.append(_made(settings, where, partial(_kept_personal, declared)))
        asked.append((declared, _events_of(channel)))
    if events is not None:
        channels_of = partial(_channels_of, personal)
        _made(settings, "events", partial(events.attach, hub, asked, channels_of=channels_of))
    if personal and settings.events.connect is None:
        _subscribe_to_personal(hub, personal)
    for problem in _doubts(settings):
        _log.warning("%s", problem)
    return hub


def _made(settings: Settings, where: str, make: Callable[[], _Made]) -> _Made:
    """Make something of settings; what is wrong with them is told with the table they stand in."""
    try:
        return make()
    except (DeclarationError, MissingExtra) as error:
        raise SettingsError(f"{settings.source}: {where}: {error}") from error


def _doubts(settings: Settings) -> list[str]:
    """Say what works and may not be meant."""
    doubts: list[str] = []
    if settings.auth.insecure:
        doubts.append("auth.insecure is on: everybody may connect and subscribe; this is for development and tests")
    if not settings.channels:
        doubts.append("no channels are declared: nobody can subscribe to anything")
    return doubts


def _events(settings: Settings) -> BackendEvents | None:
    """Make what asks the back end; None where nothing is asked."""
    events = settings.events
    if not events.urls:
        return None
    return BackendEvents(
        **events.urls,
        secret=None if events.secret is None else events.secret.get_secret_value(),
        timeout_seconds=events.timeout_seconds,
        retries=events.retries,
        concurrency=events.concurrency,
        answer_bytes=events.answer_bytes,
        headers=events.headers,
        static_headers=events.static_headers,
    )


def _events_of(channel: ChannelSettings) -> list[ChannelEvent] | None:
    """Give what the back end is asked about these channels; None for all that it is asked."""
    if not channel.personal:
        return channel.events
    # Who may subscribe to these is decided: the one user, by the server.
    wanted: Sequence[ChannelEvent] = get_args(ChannelEvent) if channel.events is None else channel.events
    return [event for event in wanted if event not in ("subscribe", "sub_refresh")]


def _auth(settings: Settings) -> JWT | None:
    """Make what verifies tokens; None where there is nothing to verify them with."""
    auth = settings.auth
    # Who has no token may still be known to the back end, which lets in nobody it does not name.
    anonymous = auth.anonymous or auth.insecure or settings.events.connect is not None
    if not auth.has_keys:
        if auth.previous_hmac_secrets:
            raise DeclarationError("previous_hmac_secrets is given without hmac_secret")
        if not anonymous:
            raise DeclarationError(
                "nobody could connect: give hmac_secret or public_keys to verify tokens with, "
                "or let clients in without one by anonymous = true"
            )
        return None
    return JWT(
        None if auth.hmac_secret is None else auth.hmac_secret.get_secret_value(),
        previous_secrets=[secret.get_secret_value() for secret in auth.previous_hmac_secrets],
        public_key=auth.public_keys,
        algorithms=auth.algorithms,
        audience=auth.audience,
        issuer=auth.issuer,
        anonymous=anonymous,
        user_claim=auth.user_claim,
        leeway_seconds=auth.leeway_seconds,
    )


# --- channels ---------------------------------------------------------------------------------------------------------


def _declared(hub: Hub, settings: Settings, channel: ChannelSettings) -> Channel[Any]:
    """Declare the channels of one pattern."""
    return hub.channel(
        channel.pattern,
        bytes if channel.binary else None,
        history=channel.history,
        recovery=channel.recovery,
        presence=channel.presence,
        join_leave=channel.join_leave,
        publish=channel.publish,
        protected=channel.protected and not settings.auth.insecure,
        delta=channel.delta,
        filters=channel.filters,
        slow=channel.slow,
    )


def _kept_personal(channel: Channel[Any]) -> Pattern:
    """Keep everybody out of a channel but the user whose it is."""
    pattern = Pattern(channel.pattern)
    if pattern.parts != ("user",):
        raise DeclarationError("a personal channel has one placeholder, {user}, as #{user} has")

    @channel.on_subscribe
    async def only_oneself(user: str, session: Session) -> None:
        if user != session.user:
            raise PermissionDenied

    return pattern


def _subscribe_to_personal(hub: Hub, personal: Sequence[Pattern]) -> None:
    """Subscribe each user, as they connect, to the channels that are theirs."""

    @hub.on_connect
    async def welcome(session: Session) -> Accept:
        return Accept(channels=_channels_of(personal, session.user))


def _channels_of(personal: Sequence[Pattern], user: str) -> list[str]:
    channels: list[str] = []
    for pattern in personal if user else ():
        try:
            channels.append(pattern.build({"user": user}))
        except DeclarationError as error:
            _log.warning("a user connects without a personal channel: %s", error)
    return channels
