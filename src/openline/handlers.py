"""A function of the app, called for what a client does.

What its parameters ask for is settled when it is declared, by the rules of `parameters`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from openline.errors import UnknownChannel
from openline.handshake import Handshake
from openline.injection import Injection
from openline.parameters import ANYTHING, Event, Source
from openline.payload import Payload, reasons
from openline.session import Session
from openline.signatures import is_async, name_of, read_signature

_NOTHING: Final[Mapping[str, Any]] = {}


@final
class Handler:
    """A function of the app, ready to be called.

    Plain and ``async`` functions, methods, callable objects and partials of them; a plain one runs in the thread pool.
    One with nothing for FastAPI to inject is called without it.

    Args:
        function: what the app declared.
        where: names the declaration in errors, such as ``room:{name} on_publish``.
        parts: the placeholders of the channel's pattern.
        message: what the event carries; None where it carries nothing.
        message_name: the parameter name that asks for it.
        supplied: what else the event supplies, by the parameter's name; the type is what will be given.
    Raises:
        DeclarationError: a parameter is none of what the rules of `parameters` allow; the message names it.

    Attributes:
        function: what the app declared.
        where: names it in errors.
        payload: what the message is validated as; None where the handler does not ask for it.
        injects: whether FastAPI has something to inject: a call then costs 20 to 300 microseconds, else a few.
        reads_handshake: whether a call reads more of the handshake than its app.
        returns: the annotation of what it returns; None where it has none.
    """

    __slots__ = (
        "_call_async",
        "_injection",
        "_message",
        "_message_required",
        "_parts",
        "_sessions",
        "_supplied",
        "function",
        "payload",
        "returns",
        "where",
    )

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        where: str,
        parts: Sequence[str] = (),
        message: Payload | None = None,
        message_name: str = "message",
        supplied: Mapping[str, type] = _NOTHING,
    ) -> None:
        self.function = function
        self.where = where
        self._call_async = is_async(function)
        signature = read_signature(function, where)
        event = Event(where, name_of(function), tuple(parts), message, message_name, supplied)
        found: dict[Source, list[inspect.Parameter]] = {source: [] for source in Source}
        for parameter in signature.parameters.values():
            found[event.source(parameter)].append(parameter)

        self._sessions = tuple(parameter.name for parameter in found[Source.SESSION])
        self._supplied = tuple(parameter.name for parameter in found[Source.SUPPLIED])
        self._parts = tuple((parameter.name, event.part_adapter(parameter)) for parameter in found[Source.PART])
        taker = event.message_taker(found[Source.MESSAGE])
        self._message = None if taker is None else taker.name
        self._message_required = taker is not None and taker.default is inspect.Parameter.empty
        self.payload = None if taker is None else event.payload(taker)
        injected = found[Source.INJECTED]
        self._injection = Injection(injected, parts=parts, where=f"{where}, {event.function}") if injected else None
        self.returns: Any = None if signature.return_annotation in ANYTHING else signature.return_annotation

    @property
    def injects(self) -> bool:
        """Whether FastAPI has something to inject."""
        return self._injection is not None

    @property
    def reads_handshake(self) -> bool:
        """Whether a call reads more of the handshake than its app, as far as declared: an override may read more."""
        return self._injection is not None and self._injection.reads_handshake

    async def __call__(
        self,
        session: Session,
        handshake: Handshake,
        *,
        parts: Mapping[str, str] = _NOTHING,
        message: bytes = b"",
        supplied: Mapping[str, Any] = _NOTHING,
    ) -> Any:
        """Call the function. What its dependencies opened is closed when this returns or raises.

        Args:
            session: whom it is called for.
            handshake: of that session's connection; `Handshake.bare` will do unless `reads_handshake`.
            parts: of the channel's name, every one that was declared.
            message: as the client sent it; b"" where it sent none.
            supplied: every value that was declared.
        Returns:
            What the function returned.
        Raises:
            UnknownChannel: a part of the channel's name does not fit its declared type.
            BadRequest: the message, or something of the handshake, does not fit its declared type.
            Exception: whatever the function or a dependency raised, while closing too.
        """
        arguments: dict[str, Any] = dict.fromkeys(self._sessions, session)
        for name in self._supplied:
            arguments[name] = supplied[name]
        for name, part in self._parts:
            arguments[name] = parts[name] if part is None else _fit(part, name, parts[name])
        if self._message is not None and self.payload is not None and (message or self._message_required):
            # Sending nothing is sending null: it is for the type to say whether that will do.
            arguments[self._message] = self.payload.validate(message or (b"" if self.payload.raw else b"null"))
        if self._injection is None:
            return await self._run(arguments)
        return await self._injection.around(
            lambda injected: self._run(arguments | injected), handshake.request(session, parts)
        )

    async def _run(self, arguments: dict[str, Any]) -> Any:
        if self._call_async:
            result = self.function(**arguments)
        else:
            result = await run_in_threadpool(self.function, **arguments)
        # A plain function may still give something to await, such as a lambda around an async one.
        return await result if inspect.isawaitable(result) else result

    def __repr__(self) -> str:
        return f"Handler({self.where}: {name_of(self.function)})"


def _fit(part: TypeAdapter[Any], name: str, value: str) -> Any:
    try:
        return part.validate_python(value)
    except ValidationError as error:
        told = reasons([{**item, "loc": (name,)} for item in error.errors(include_url=False, include_input=False)])
        # A channel whose part is not of the type that was declared is a channel nobody declared.
        raise UnknownChannel(f"unknown channel: {told}") from None
