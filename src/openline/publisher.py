"""Publishing without a hub: from tasks, scripts and other frameworks, in sync code and in async code.

A `Publisher` has an event loop in a thread of its own, in which it speaks to the broker. So one publisher serves every
thread, every event loop and every kind of code of its process; that is why there is one class, and not one for each.

Invariants:

1. A line, which is the thread and what it is connected to, belongs to the process that made it. A fork of that process
   makes its own, and never touches the one it was born with: the two would share sockets.
2. Whoever waits for a publication is answered, also if the line ends.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import secrets
import threading
import time
import weakref
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, final, overload

from openline.channel import check_parts
from openline.engines import Engine, engine
from openline.errors import BrokerUnavailable, DeclarationError, UsageError
from openline.names import Pattern
from openline.options import ChannelOptions, History, Limits
from openline.payload import Payload
from openline.publication import Position, check_size, checked_tags
from openline.reception import Reception
from openline.rules import ChannelRules

Message = TypeVar("Message")

#: Seconds that `Publisher.close` takes at most.
CLOSE_SECONDS: Final = 5.0

_CLOSED: Final = "the publisher was closed"
_CLOSED_MEANWHILE: Final = "the publisher was closed meanwhile: the publication may or may not be out"


@final
class Publisher:
    """Publishes to the channels of a hub from anywhere: Celery tasks, Django, scripts, other services.

    It connects when it first publishes, and in a fork, such as a worker of Celery's, anew. It may be used from any
    number of threads and event loops. Where the hub and a script declare a channel they have to say the same, its
    history above all: what is published without history is in nobody's recovery. So pattern, type and history are best
    written once, in a module that both import, as docs/publishing.md shows.

    Args:
        broker: the URL that the hub has.
        limits: those of the hub; here they bound a message, a name, and how long idempotency keys are remembered.
    Raises:
        DeclarationError: the URL is none that is known, or ``memory://``, where nobody would hear it.
        MissingExtra: a library is not installed; the message names the extra.
    """

    __slots__ = ("__weakref__", "_broker", "_closed", "_guard", "_limits", "_line", "_reception")

    def __init__(self, broker: str, *, limits: Limits | None = None) -> None:
        if broker.partition("://")[0] == "memory":
            raise DeclarationError(
                "memory:// carries messages within the hub's own process, and nobody there would hear a publisher: in "
                "that process use Hub.publish, and elsewhere a broker that both share, such as valkey://host:6379"
            )
        self._limits = Limits() if limits is None else limits
        self._broker = broker
        self._engine()  # says now what is wrong with the URL; connects nothing
        self._reception = Reception(None, name_length=self._limits.name_length, now=time.time)
        self._closed = False
        self._guard = threading.Lock()
        self._line: _Line | None = None
        _publishers.add(self)

    def _engine(self) -> Engine:
        return engine(self._broker, idempotency_seconds=self._limits.idempotency_seconds)

    @overload
    def channel(
        self, pattern: str, message: type[Message], *, history: History | None = ...
    ) -> PublisherChannel[Message]: ...

    @overload
    def channel(
        self, pattern: str, message: None = None, *, history: History | None = ...
    ) -> PublisherChannel[Any]: ...

    def channel(self, pattern: str, message: Any = None, *, history: History | None = None) -> PublisherChannel[Any]:
        """Declare the channels of one pattern, as `Hub.channel` does; what concerns clients is the hub's alone.

        Args:
            pattern: as the hub has it.
            message: as the hub has it.
            history: as the hub has it.
        Raises:
            DeclarationError: the pattern is none, was declared before, or the type is none.
        """
        rules = ChannelRules(
            Pattern(pattern),
            Payload(message),
            ChannelOptions(raw=message is bytes, history=history),
            publish=False,
            auth=None,
            now=time.time,
        )
        check_parts(rules.pattern)
        self._reception.declare(rules)
        return PublisherChannel(self, rules)

    # --- publishing -----------------------------------------------------------------------------------------------

    def publish(
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
        """Publish to every subscriber of a channel, by its full name; wait until it is out. See `Channel.publish`.

        Raises:
            UnknownChannel: no pattern that was declared here matches.
            UsageError: the data is not of the declared type; or this thread runs an event loop, which would stand still
                (await `publish_async` there); or the publisher was closed. Nothing was sent.
            PayloadTooBig: nothing was sent.
            BrokerUnavailable: it may or may not be out; retry with the same key.
        """
        rules = self._reception.declared(channel)
        options = _checked(skip_history, tags, idempotency_key, version, version_epoch)
        return self._send(channel, rules, rules.payload.encode(data), options)

    async def publish_async(
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
        """Do as `publish` does, in async code of any event loop.

        Cancelling is safe: the message is then out whole or not at all.

        Raises:
            UnknownChannel: no pattern that was declared here matches.
            UsageError: the data is not of the declared type, or the publisher was closed; nothing was sent.
            PayloadTooBig: nothing was sent.
            BrokerUnavailable: it may or may not be out; retry with the same key.
        """
        rules = self._reception.declared(channel)
        options = _checked(skip_history, tags, idempotency_key, version, version_epoch)
        return await self._send_async(channel, rules, rules.payload.encode(data), options)

    def _send(self, channel: str, rules: ChannelRules, data: bytes, options: dict[str, Any]) -> Position:
        """Publish what is encoded, and wait."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise UsageError("publish() would hold up the event loop of this thread: await publish_async() instead")
        future = self._begin(channel, rules, data, options)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise BrokerUnavailable(_CLOSED_MEANWHILE) from None
        except BaseException:
            future.cancel()  # whoever waited was interrupted
            raise

    async def _send_async(self, channel: str, rules: ChannelRules, data: bytes, options: dict[str, Any]) -> Position:
        """Publish what is encoded."""
        future = self._begin(channel, rules, data, options)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if self._closed:
                raise BrokerUnavailable(_CLOSED_MEANWHILE) from None
            raise

    def _begin(
        self, channel: str, rules: ChannelRules, data: bytes, options: dict[str, Any]
    ) -> concurrent.futures.Future[Position]:
        check_size(data, options["tags"], self._limits.message_bytes)
        with self._guard:
            if self._closed:
                raise UsageError(_CLOSED)
            if self._line is None:
                self._line = _Line(self._engine())
            line = self._line
            history = None if options.pop("skip_history") else rules.options.history
            return line.call(line.publish(channel, data, history=history, **options))

    # --- its end --------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the broker, within seconds; what is not out by then raises `BrokerUnavailable`. Idempotent."""
        with self._guard:
            self._closed = True
            line, self._line = self._line, None
        if line is not None:
            line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def __del__(self) -> None:
        line = getattr(self, "_line", None)  # there is none where __init__ raised
        if line is not None:
            line.close(0)  # whoever collects garbage must not wait, and may be the line's own thread

    def _forsake(self) -> None:
        """Begin anew in a fork."""
        if self._line is not None:
            _forsaken.append(self._line)
        self._line = None
        self._guard = threading.Lock()  # the other may be held by a thread that was not forked

    def __repr__(self) -> str:
        return f"<Publisher {self._broker.partition('://')[0]}://…{' closed' if self._closed else ''}>"


@final
class PublisherChannel(Generic[Message]):
    """All channels of one pattern, to publish to. Made by `Publisher.channel`."""

    __slots__ = ("_publisher", "_rules")

    def __init__(self, publisher: Publisher, rules: ChannelRules) -> None:
        self._publisher = publisher
        self._rules = rules

    @property
    def pattern(self) -> str:
        """The pattern as it was declared."""
        return self._rules.pattern.text

    def name(self, **parts: object) -> str:
        """Give the full name of one channel of this pattern.

        Raises:
            DeclarationError: a part is missing, unknown or does not fit.
        """
        return self._rules.pattern.build(parts)

    def publish(
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
        """Publish to every subscriber of one channel, on every node; wait until it is out. See `Channel.publish`.

        Raises:
            DeclarationError: the parts do not make a name.
            UsageError: the message is not of the declared type; or this thread runs an event loop, which would stand
                still (await `publish_async` there); or the publisher was closed. Nothing was sent.
            PayloadTooBig: nothing was sent.
            BrokerUnavailable: it may or may not be out; retry with the same key.
        """
        options = _checked(skip_history, tags, idempotency_key, version, version_epoch)
        return self._publisher._send(self.name(**parts), self._rules, self._rules.payload.encode(message), options)

    async def publish_async(
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
        """Do as `publish` does, in async code of any event loop.

        Cancelling is safe: the message is then out whole or not at all.

        Raises:
            DeclarationError: the parts do not make a name.
            UsageError: the message is not of the declared type, or the publisher was closed; nothing was sent.
            PayloadTooBig: nothing was sent.
            BrokerUnavailable: it may or may not be out; retry with the same key.
        """
        options = _checked(skip_history, tags, idempotency_key, version, version_epoch)
        data = self._rules.payload.encode(message)
        return await self._publisher._send_async(self.name(**parts), self._rules, data, options)

    def __repr__(self) -> str:
        return f"<PublisherChannel {self.pattern!r}>"


def _checked(
    skip_history: bool, tags: Mapping[str, str] | None, idempotency_key: str, version: int, version_epoch: str
) -> dict[str, Any]:
    """Give the options of a publication.

    Raises:
        DeclarationError: a tag is no text.
    """
    return {
        "skip_history": skip_history,
        "tags": None if tags is None else checked_tags(tags),
        "idempotency_key": idempotency_key,
        "version": version,
        "version_epoch": version_epoch,
    }


class _Line:
    """A thread, its event loop, and the broker it is connected to from the first call on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connected = False
        self._waiting: list[asyncio.Future[None]] = []
        self._wanted = asyncio.Event()
        self._closing = asyncio.Event()
        self._running: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, name="openline-publisher", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # as where the process has too many threads
            raise BrokerUnavailable(f"there is no thread to publish from: {error}") from error
        self._loop = self._running.result()

    def _run(self) -> None:
        # Leaving the runner cancels what still publishes, and so answers it.
        runner = asyncio.Runner()
        try:
            loop = runner.get_loop()
        except OSError as error:  # as where the process has too many open files
            self._running.set_exception(BrokerUnavailable(f"there is no event loop to publish from: {error}"))
            return
        with runner:
            self._running.set_result(loop)
            runner.run(self._live())

    def call(self, work: Coroutine[Any, Any, Position]) -> concurrent.futures.Future[Position]:
        """Do some work in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def publish(self, channel: str, data: bytes, **options: Any) -> Position:
        """Publish; see `Broker.publish`."""
        if not self._connected:
            connected = asyncio.get_running_loop().create_future()
            self._waiting.append(connected)
            self._wanted.set()
            await connected
        return await self._engine.broker.publish(channel, data, **options)

    async def _live(self) -> None:
        """Connect when it is wanted, and again when it failed, until the line is closed."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if self._closing.is_set():
                return
            try:
                async with self._engine.around():
                    await self._connect_until_closed()
            except Exception as error:  # noqa: BLE001  # it is for those who wait, whatever it is
                self._answer(error)

    async def _connect_until_closed(self) -> None:
        broker = self._engine.broker
        await broker.start(secrets.token_hex(8), None)
        try:
            self._connected = True
            self._answer(None)
            await self._closing.wait()
        finally:
            self._connected = False
            await broker.stop()

    def _answer(self, error: Exception | None) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if one.done():
                continue  # its caller was interrupted
            if error is None:
                one.set_result(None)
            else:
                one.set_exception(error)

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """End the thread; wait for it so many seconds at most."""

        def end() -> None:
            self._closing.set()
            self._wanted.set()

        self._loop.call_soon_threadsafe(end)
        if seconds:
            self._thread.join(seconds)


#: All there are in this process: for a fork of it, and for its end.
_publishers: Final[weakref.WeakSet[Publisher]] = weakref.WeakSet()
#: Lines of the parent's, never let go of: to end one would be felt by the parent, which watches the same sockets.
_forsaken: Final[list[_Line]] = []


def _begin_anew_in_fork() -> None:
    for publisher in _publishers:
        publisher._forsake()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew_in_fork)


@atexit.register
def _close_all() -> None:
    for publisher in tuple(_publishers):
        publisher.close()
