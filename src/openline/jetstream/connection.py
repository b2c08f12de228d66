"""One connection to a NATS server, from its opening to its end.

This file is the only one that knows nats-py, and knows it as a driver for a single connection: what is done when that
is lost is decided in `openline.jetstream.link`. Three things of nats-py are not used: each would break a promise.

- Its reconnecting keeps what could not be sent and sends it later, long after the caller was told that it failed.
- Its `flush` sends the PING past what still waits to be sent, so that the PONG confirms nothing; and one that times out
  ends the reading of the connection when the PONG comes after all. In its place a message goes to ourselves, behind
  everything else (`confirm`).
- Its subscriptions have a queue and a task each: between two of them the order is lost, and a full queue drops. Here a
  message is taken while it is read from the socket (`msg_class`), before any queue.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import logging
import re
import secrets
import ssl
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error, MaxPayloadError

from openline.errors import BrokerUnavailable, MissingExtra, PayloadTooBig
from openline.jetstream.address import NatsAddress
from openline.jetstream.headers import bytes_of
from openline.urls import Endpoint

_log: Final = logging.getLogger("openline")

#: Enough for nats-py never to wait for a lock-step of its own: what waits is bounded by those who wait for it.
_UNBOUNDED: Final = 1 << 40
#: How the server says what it refuses.
_REFUSED: Final = re.compile(
    r'permissions violation for (publish|subscription) to "(.*?)"(?: using queue|\W*$)', re.IGNORECASE
)
#: Refusals that are remembered for those who may wait to hear of them.
_REFUSALS: Final = 10_000
#: How long a connection that is to end may take to send what it has.
_CLOSE_SECONDS: Final = 0.5

#: What is done with a subject.
Deed = Literal["publish", "subscription"]
#: Takes what arrives: subject, headers and data. Never waits.
Receive = Callable[[str, Mapping[str, str], bytes], None]


class Reply(NamedTuple):
    """What a request was answered with."""

    status: int  #: 0 for an ordinary message; 503: nobody was there to answer
    headers: Mapping[str, str]
    data: bytes


#: Nobody was there to answer: what was sent did not arrive anywhere.
NOBODY: Final = 503


def _look_for(credentials: str) -> None:
    """See whether the credentials file can be read: nats-py finds out in the middle of connecting."""
    try:
        if credentials:
            Path(credentials).open("rb").close()
    except OSError as error:
        raise BrokerUnavailable(f"the credentials file of NATS cannot be read: {error}") from error


def _tls(address: NatsAddress) -> dict[str, Any]:
    if not address.tls:
        return {}
    context = ssl.create_default_context(cafile=address.ca or None)
    if address.cert:
        context.load_cert_chain(address.cert, address.key or None)
    return {"tls": context}


@dataclass
class _Taken(Msg):
    """A message that is taken the moment it is made, and leaves nothing for nats-py to queue."""

    def __post_init__(self) -> None:
        client = self._client
        if isinstance(client, _Client):
            client.take(self)

    def __bool__(self) -> bool:
        return False


class _Client(Client):
    msg_class = _Taken
    take: Callable[[Msg], None]

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (UnicodeDecodeError, IndexError):  # whoever may publish may send any: it would end the reading
            return None


class _Question:
    """A request that waits for its answer, or for all of them."""

    __slots__ = ("future", "many", "replies")

    def __init__(self, *, many: bool) -> None:
        self.future: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
        self.many = many
        self.replies: list[Reply] = []

    def answer(self, reply: Reply) -> None:
        self.replies.append(reply)
        # A series ends with a status.
        if (reply.status or not self.many) and not self.future.done():
            self.future.set_result(self.replies)

    def fail(self, problem: str) -> None:
        if not self.future.done():
            self.future.set_exception(BrokerUnavailable(problem))
            self.future.exception()  # nobody may be left to look


@final
class Connection:
    """An open connection. Once `lost` is set nothing can be done with it but `drop`."""

    def __init__(self, receive: Receive) -> None:
        self.lost = asyncio.Event()
        self._receive = receive
        self._client = _Client()
        self._client.take = self._take
        self._inbox = f"_INBOX.{secrets.token_hex(12)}."
        self._numbers = itertools.count()
        self._questions: dict[str, _Question] = {}
        self._round: _Question | None = None
        self._refusals = 0
        self._refused: dict[str, tuple[int, str]] = {}  # by what was refused: which refusal, and its words
        self.refusal = ""  #: what the server refused last, in its words; "" if it refused nothing

    async def open(self, address: NatsAddress, endpoint: Endpoint, name: str) -> None:
        """Connect.

        Raises:
            BrokerUnavailable: it did not work; nothing is left behind.
            MissingExtra: a credentials file is given, and the library that can read it is not installed.
        """
        if address.credentials and importlib.util.find_spec("nkeys") is None:
            raise MissingExtra("a credentials file of NATS", "nats")
        scheme = "tls" if address.tls else "nats"
        _look_for(address.credentials)
        try:
            await self._client.connect(
                servers=[f"{scheme}://{endpoint}"],
                name=name,
                error_cb=self._on_error,
                closed_cb=self._on_closed,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=max(1, int(address.timeout)),
                ping_interval=1 << 30,
                user=address.user or None,
                password=address.password or None,
                token=address.token or None,
                user_credentials=address.credentials or None,
                pending_size=_UNBOUNDED,
                flusher_queue_size=_UNBOUNDED,
                **_tls(address),
            )
            if self._client._reading_task is not None:
                self._client._reading_task.add_done_callback(self._on_reading_ended)
            await self._client.subscribe(f"{self._inbox}*")
        except BaseException as error:
            await self.drop()
            if isinstance(error, Error | OSError | TimeoutError | ValueError):
                cause = self._client.last_error or error
                raise BrokerUnavailable(f"no connection to NATS at {endpoint}: {cause}") from error
            raise

    @property
    def discovered(self) -> tuple[Endpoint, ...]:
        """Other servers of the same cluster, as this one told."""
        found = self._client.discovered_servers
        return tuple(Endpoint(uri.hostname, uri.port or 4222) for uri in found if uri.hostname)

    # --- what comes -----------------------------------------------------------------------------------------------

    def _take(self, message: Msg) -> None:
        # Runs while the socket is read: what is raised here would end the reading.
        try:
            subject, headers = message.subject, message.headers or {}
            if subject.startswith(self._inbox):
                question = self._questions.get(subject)
                if question is not None:
                    question.answer(Reply(int(headers.get("Status", 0)), headers, message.data))
            else:
                self._receive(subject, headers, message.data)
        except Exception:  # noqa: BLE001
            _log.exception("a message from NATS on %r could not be taken", message.subject)

    async def _on_error(self, error: Exception) -> None:
        text = str(error)
        if "permissions violation" in text.lower():
            self._refusals += 1
            self.refusal = text
            found = _REFUSED.search(text)
            what = f"{found[1]} {found[2]}".lower() if found else ""
            self._refused.pop(what, None)
            self._refused[what] = (self._refusals, text)
            if len(self._refused) > _REFUSALS:
                del self._refused[next(iter(self._refused))]
            _log.error("NATS refuses: %s", text)

    async def _on_closed(self) -> None:
        self._fail()

    def _on_reading_ended(self, task: asyncio.Task[Any]) -> None:
        # nats-py does not come to call closed_cb where the end of a connection meets something that waits to be sent.
        if not task.cancelled():
            task.exception()
        self._fail()

    def _fail(self) -> None:
        self.lost.set()
        for question in self._questions.values():
            question.fail("the connection to NATS was lost: what was sent may or may not have arrived")
        self._questions.clear()

    # --- what goes ------------------------------------------------------------------------------------------------

    async def send(
        self, subject: str, data: bytes = b"", headers: dict[str, str] | None = None, reply: str = ""
    ) -> None:
        """Put a message behind those that wait to be sent; `confirm` tells that it arrived.

        Raises:
            BrokerUnavailable: it is not sent.
            PayloadTooBig: the server would not take it; nothing is sent.
        """
        size = len(data)
        if headers:
            size += bytes_of(headers)
        if size > self._client.max_payload:
            raise PayloadTooBig(size, self._client.max_payload)
        if self.lost.is_set():
            raise BrokerUnavailable("the connection to NATS was lost")
        try:
            await self._client.publish(subject, data, reply=reply, headers=headers)
        except MaxPayloadError as error:
            raise PayloadTooBig(size, self._client.max_payload) from error
        except (Error, OSError) as error:
            raise BrokerUnavailable(f"NATS cannot be sent to: {error!r}") from error

    async def ask(
        self, subject: str, data: bytes = b"", headers: dict[str, str] | None = None, *, many: bool = False
    ) -> list[Reply]:
        """Send a request and wait for its answer, for as long as the connection lasts; sent once.

        Args:
            many: it is answered with a series, which ends with a status.
        Raises:
            BrokerUnavailable: the connection was lost; what was sent may or may not have arrived.
        """
        inbox = f"{self._inbox}{next(self._numbers)}"
        question = self._questions[inbox] = _Question(many=many)
        try:
            await self.send(subject, data, headers, inbox)
            return await question.future
        finally:
            self._questions.pop(inbox, None)

    async def confirm(self, deed: Deed = "publish", subjects: Collection[str] = ()) -> None:
        """Return when the server has taken all that was sent and subscribed before this call.

        Those who wait in the same turn of the event loop share one message.

        Args:
            deed: what was done with `subjects`; what the server refuses of others concerns somebody else.
        Raises:
            BrokerUnavailable: the connection was lost, or the server refused one of these.
        """
        refusals = self._refusals
        question = self._round
        if question is None:
            question = self._round = _Question(many=False)
            try:
                await asyncio.sleep(0)
            finally:
                self._round = None
                await self._echo(question)
        await asyncio.shield(question.future)
        if self._refusals > refusals and subjects:
            for what in ("", *(_named(deed, subject) for subject in subjects)):  # "": nobody can tell what it was
                number, text = self._refused.get(what, (0, ""))
                if number > refusals:
                    raise BrokerUnavailable(f"NATS refuses: {text}")

    async def _echo(self, question: _Question) -> None:
        inbox = f"{self._inbox}{next(self._numbers)}"
        self._questions[inbox] = question
        question.future.add_done_callback(lambda _: self._questions.pop(inbox, None))
        try:
            await self.send(inbox)
        except BrokerUnavailable as error:
            question.fail(str(error))

    async def subscribe(self, subject: str) -> Subscription:
        """Begin to receive a subject; it holds once `confirm` has returned.

        Raises:
            BrokerUnavailable: the connection was lost.
        """
        try:
            return await self._client.subscribe(subject)
        except (Error, OSError) as error:
            raise BrokerUnavailable(f"NATS cannot be sent to: {error!r}") from error

    @staticmethod
    async def unsubscribe(subscription: Subscription) -> None:
        """Stop receiving; one of a connection that was lost is no error."""
        with suppress(Error, OSError):
            await subscription.unsubscribe()

    # --- the end --------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """End in order: what waits to be sent is, if that goes quickly."""
        with suppress(TimeoutError, Error, OSError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._client.close()
        await self.drop()

    async def drop(self) -> None:
        """End now, whatever waits to be sent. Idempotent."""
        self._fail()
        # nats-py has no way to abort, and closing waits for a peer that may have stopped reading for good.
        writer = getattr(self._client._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()
        # AssertionError is what nats-py says where connecting did not even begin.
        with suppress(TimeoutError, Error, OSError, AssertionError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._client.close()


def _named(deed: str, subject: str) -> str:
    # nats-py hands on in small letters what the server says, which is quoted as in Go.
    quoted = subject.replace("\\", "\\\\").replace('"', '\\"')
    return f"{deed} {quoted}".lower()
