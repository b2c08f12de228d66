"""A declared channel: what the app publishes to and asks about, and where its handlers are hung up."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, Generic, TypeVar, final

import msgspec

from openline.errors import DeclarationError, NotAvailable
from openline.following import Following
from openline.handlers import Handler
from openline.names import Pattern
from openline.node import Node
from openline.payload import Payload
from openline.presence.base import PresenceStats
from openline.publication import ClientInfo, Position, Publication, checked_tags
from openline.rules import ChannelRules

Message = TypeVar("Message")
Function = TypeVar("Function", bound=Callable[..., Any])

#: Words of the methods below, which a placeholder can therefore not be called.
_RESERVED: Final = frozenset(
    ("message", "skip_history", "tags", "idempotency_key", "version", "version_epoch", "since", "limit", "reverse")
)


def check_parts(pattern: Pattern) -> None:
    """Say whether the parts of a pattern can be told apart from the options of publishing.

    Raises:
        DeclarationError: one cannot.
    """
    clash = _RESERVED.intersection(pattern.parts)
    if clash:
        raise DeclarationError(f"channel {pattern.text!r}: a placeholder cannot be called {min(clash)!r}")


class Kept(msgspec.Struct, Generic[Message], frozen=True):
    """A publication as history keeps it, and as followers get it."""

    message: Message
    position: Position
    info: ClientInfo | None  #: the client that published it; None for the server
    tags: dict[str, str]
    time: float  #: unix seconds at which the broker took it


class HistoryPage(msgspec.Struct, Generic[Message], frozen=True):
    """Part of a channel's history."""

    publications: list[Kept[Message]]  #: oldest first, or newest first in reverse
    top: Position  #: where the stream stands


@final
class Channel(Generic[Message]):
    """All channels of one pattern. Made by `Hub.channel`."""

    __slots__ = ("_following", "_node", "_rules")

    def __init__(self, node: Node, rules: ChannelRules, following: Following) -> None:
        check_parts(rules.pattern)
        self._following = following
        self._node = node
        self._rules = rules

    @property
    def pattern(self) -> str:
        """The pattern as it was declared."""
        return self._rules.pattern.text

    # --- handlers -------------------------------------------------------------------------------------------------

    def on_subscribe(self, function: Function) -> Function:
        """Decide on each client that wants to subscribe; without a handler anyone connected may.

        The handler takes the pattern's parts, the `Session`, the client's `data`, ``token: str`` and what FastAPI
        injects. It returns None or `Allow`, or raises to refuse (`PermissionDenied`, `HTTPException`, …).

        Raises:
            DeclarationError: a parameter is none of these, or there is a handler already.
        """
        self._refuse_second(self._rules.subscribing, "on_subscribe")
        self._rules.subscribing = self._handler(
            function, "on_subscribe", message=Payload(None), message_name="data", supplied={"token": str}
        )
        return function

    def on_refresh(self, function: Function) -> Function:
        """Decide on each subscription that runs out, as `Allow` said when; see `Hub.on_refresh`.

        Subscriptions by token are not asked about: their clients bring a new token.

        The handler takes the pattern's parts, the `Session` and what FastAPI injects. It returns a new expiry, `Allow`
        of one and new info, or None: the subscription then ends with 2501, a server-side one with its connection
        (3006).

        Raises:
            DeclarationError: a parameter is none of these, or there is a handler already.
        """
        self._refuse_second(self._rules.refreshing, "on_refresh")
        self._rules.refreshing = self._handler(function, "on_refresh")
        return function

    def on_publish(self, function: Function) -> Function:
        """Decide on each message a client wants to publish; without a handler none may, save with ``publish=True``.

        Where subscribing is guarded, by a handler or by tokens, only those in the channel are heard.

        The handler takes the pattern's parts, the message, the `Session`, and what FastAPI injects. It returns the
        message that is published, or None for the one that came, or `Publish` to say how, or raises to refuse.

        Raises:
            DeclarationError: a parameter is none of these, or there is a handler already.
        """
        self._refuse_second(self._rules.publishing, "on_publish")
        self._rules.publishing = self._handler(function, "on_publish", message=self._rules.payload)
        return function

    def on_unsubscribe(self, function: Function) -> Function:
        """Hear of each subscription that has ended, whoever ended it; also when the connection is gone.

        And of each that `on_subscribe` said yes to and that came to nothing: the client was gone by then, or the
        subscription could not be had after all.

        The handler takes the pattern's parts, the `Session`, ``code: int``, ``reason: str``, and what FastAPI injects.

        Raises:
            DeclarationError: a parameter is none of these, or there is a handler already.
        """
        self._refuse_second(self._rules.leaving, "on_unsubscribe")
        self._rules.leaving = self._handler(function, "on_unsubscribe", supplied={"code": int, "reason": str})
        return function

    def _handler(self, function: Callable[..., Any], event: str, **event_offers: Any) -> Handler:
        pattern = self._rules.pattern
        return Handler(function, where=f"{pattern.text} {event}", parts=pattern.parts, **event_offers)

    def _refuse_second(self, handler: Handler | None, event: str) -> None:
        if handler is not None:
            raise DeclarationError(f"{self.pattern} has an {event} handler already: {handler!r}")

    # --- from anywhere in the app ---------------------------------------------------------------------------------

    def name(self, **parts: object) -> str:
        """Give the full name of one channel of this pattern.

        Raises:
            DeclarationError: a part is missing, unknown or does not fit.
        """
        return self._rules.pattern.build(parts)

    async def publish(
        self,
        message: Message,
        *,
        skip_history: bool = False,
        tags: Mapping[str, str] | None = None,
        idempotency_key: str = "",
        version: int = 0,
        version_epoch: str = "",
        **parts: object,
    ) -> Position:
        """Publish to every subscriber of one channel, on every node. No handler is asked.

        At most once per live subscriber; where history is on, a client that resumes fills its gap. Order is kept per
        channel and publisher. Cancelling is safe: the message is then out whole or not at all.

        Args:
            message: of the declared type; at most ``limits.message_bytes`` once written.
            skip_history: carry it to those who are there now and keep nothing: whoever comes back does not get it.
            tags: go with the publication to the clients, and count for the same limit.
            idempotency_key: a repeat within ``limits.idempotency_seconds`` publishes nothing and gives the first
                position.
            version: of the state the message shows; one not above the last seen is not published.
            version_epoch: versions of different epochs are not compared.
            parts: of the channel's name.
        Returns:
            The epoch and offset the broker gave it; `Position.NONE` where it is not kept.
        Raises:
            DeclarationError: the parts do not make a name.
            UsageError: the message is not of the declared type; nothing was sent.
            PayloadTooBig: nothing was sent.
            BrokerUnavailable: it may or may not be out; retry with the same key.
        """
        return await self._node.publish(
            self._rules.pattern.build(parts),
            self._rules.payload.encode(message),
            self._rules.options,
            skip_history=skip_history,
            tags=None if tags is None else checked_tags(tags),
            idempotency_key=idempotency_key,
            version=version,
            version_epoch=version_epoch,
        )

    async def history(
        self, *, since: Position | None = None, limit: int = -1, reverse: bool = False, **parts: object
    ) -> HistoryPage[Message]:
        """Read what is kept of one channel.

        Args:
            since: start after this offset (before it in reverse).
            limit: publications at most; 0 only the top, -1 all.
            parts: of the channel's name.
        Raises:
            NotAvailable: the channel was declared without history.
            HubNotStarted: the hub does not run.
            BrokerUnavailable: the broker did not answer.
        """
        history = self._rules.options.history
        if history is None:
            raise NotAvailable(f"{self.pattern} was declared without history")
        self._node.check_started("history")
        page = await self._node.broker.history(
            self._rules.pattern.build(parts), history=history, since=since, limit=limit, reverse=reverse
        )
        return HistoryPage([_kept(self._rules, publication) for publication in page.publications], page.top)

    def follow(self, *, since: Position | None = None, **parts: object) -> AsyncGenerator[Kept[Message], None]:
        """Follow one channel from within the app: in a route that streams, or a task.

        Gives each publication once and in order, from `since` on, or from the first step of the loop on. Nothing is
        passed over in silence. A loop that does not keep up is given the rest from history, at its own pace; where the
        channel keeps none, what the channel's `slow` says is done, and with "disconnect" `FellBehind` is raised. While
        the broker is away it waits. It ends when the hub stops or the server begins to: who goes on elsewhere goes on
        from the position of the last publication.

        A follower is a subscriber of the channel and nobody's client: it is in no presence and under no limit but
        `Limits.outbox_bytes`. Cancelling is safe. Close it with `aclose`, or let go of it.

        Args:
            since: begin with what was published after this; None: from now on.
            parts: of the channel's name.
        Raises:
            DeclarationError: the parts do not make a name.
            NotAvailable: `since`, and the channel was declared without history.
            HubNotStarted: on the first step: the hub does not run here.
            UnrecoverablePosition: on a step: history does not hold all that comes next.
            BrokerUnavailable: on the first step: the broker did not answer.
            BadRequest: on a step: a publication is not of the declared type, as it was put in from outside.
        """
        return followed(self._following, self._rules, self._rules.pattern.build(parts), since)

    async def presence(self, **parts: object) -> dict[str, ClientInfo]:
        """Give everyone in one channel, on every node, by session id.

        Raises:
            NotAvailable: the channel was declared without presence.
            HubNotStarted: the hub does not run.
        """
        self._need_presence()
        return await self._node.presence.members(self._rules.pattern.build(parts))

    async def presence_stats(self, **parts: object) -> PresenceStats:
        """Count who is in one channel, on every node.

        Raises:
            NotAvailable: the channel was declared without presence.
            HubNotStarted: the hub does not run.
        """
        self._need_presence()
        return await self._node.presence.stats(self._rules.pattern.build(parts))

    def _need_presence(self) -> None:
        if not self._rules.options.presence:
            raise NotAvailable(f"{self.pattern} was declared without presence")
        self._node.check_started("presence")

    def __repr__(self) -> str:
        return f"<Channel {self.pattern!r}>"


def followed(
    following: Following, rules: ChannelRules, channel: str, since: Position | None
) -> AsyncGenerator[Kept[Any], None]:
    """Follow a channel whose rules are known; see `Channel.follow`.

    Raises:
        NotAvailable: `since`, and the channel was declared without history.
    """
    if since is not None and rules.options.history is None:
        raise NotAvailable(f"{rules.pattern.text} was declared without history: there is nothing to follow it from")
    return _each_kept(following.follow(channel, rules.options, since), rules)


async def _each_kept(
    publications: AsyncGenerator[Publication, None], rules: ChannelRules
) -> AsyncGenerator[Kept[Any], None]:
    async with aclosing(publications):
        async for publication in publications:
            yield _kept(rules, publication)


def _kept(rules: ChannelRules, publication: Publication) -> Kept[Any]:
    return Kept(
        rules.payload.validate(publication.data),
        Position(publication.epoch, publication.offset),
        publication.info,
        publication.tags or {},
        publication.time,
    )
