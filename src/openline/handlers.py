"""A function of the app, called for what a client does: what it asks for is settled when it is declared.

A parameter of a handler is, by the first rule that fits:

1. FastAPI's, when it says so itself: ``Depends``, ``Security``, ``Header``, ``Cookie``, ``Query``, ``Path``.
2. The session, by its annotation `Session`.
3. The message, by its annotation: the declared type, unless that is one of Python's own such as ``str`` or ``dict``.
4. A part of the channel's name, by the name of the placeholder.
5. Something else the event supplies, by its name: ``code``, ``reason``.
6. The message, by its name; where no type is declared also by an annotation that is a model, or another type FastAPI
   would read from a request body. The annotation is then the type.
7. FastAPI's, by an annotation FastAPI knows: ``HTTPConnection``, ``SecurityScopes``.

Anything else is an error of the declaration: FastAPI would read it from the query string, and a misspelt part with it.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Annotated, Any, Final, Union, final, get_args, get_origin

from fastapi.security import SecurityScopes
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.background import BackgroundTasks
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import HTTPConnection
from starlette.responses import Response

from openline.errors import DeclarationError, UnknownChannel
from openline.handshake import Handshake
from openline.injection import Injection, has_marker
from openline.payload import Payload, adapter, reasons, type_name
from openline.session import Session
from openline.signatures import is_async, name_of, read_signature, without_alias

_NOTHING: Final[Mapping[str, Any]] = {}
_ANYTHING: Final = (inspect.Parameter.empty, Any, object)
#: Taken or refused by `Injection`, which knows which of them are there.
_KNOWN_TO_FASTAPI: Final = (HTTPConnection, Response, BackgroundTasks, SecurityScopes, UploadFile)


class _Source(enum.Enum):
    """Where a parameter comes from."""

    INJECTED = enum.auto()
    SESSION = enum.auto()
    MESSAGE = enum.auto()
    PART = enum.auto()
    SUPPLIED = enum.auto()


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
        DeclarationError: a parameter is none of what the rules of this file allow; the message names it.

    Attributes:
        function: what the app declared.
        where: names it in errors.
        payload: what the message is validated as; None where the handler does not ask for it.
        injects: whether FastAPI has something to inject: then a call costs a few hundred microseconds, else a few.
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
        event = _Event(where, name_of(function), tuple(parts), message, message_name, supplied)
        found: dict[_Source, list[inspect.Parameter]] = {source: [] for source in _Source}
        for parameter in signature.parameters.values():
            found[event.source(parameter)].append(parameter)

        self._sessions = tuple(parameter.name for parameter in found[_Source.SESSION])
        self._supplied = tuple(parameter.name for parameter in found[_Source.SUPPLIED])
        self._parts = tuple((parameter.name, event.part_adapter(parameter)) for parameter in found[_Source.PART])
        taker = event.message_taker(found[_Source.MESSAGE])
        self._message = None if taker is None else taker.name
        self._message_required = taker is not None and taker.default is inspect.Parameter.empty
        self.payload = None if taker is None else event.payload(taker)
        injected = found[_Source.INJECTED]
        self._injection = Injection(injected, parts=parts, where=f"{where}, {event.function}") if injected else None
        self.returns: Any = None if signature.return_annotation in _ANYTHING else signature.return_annotation

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


@dataclasses.dataclass(frozen=True, slots=True)
class _Event:
    """What a handler may ask for at one event."""

    where: str
    function: str
    parts: tuple[str, ...]
    message: Payload | None
    message_name: str
    supplied: Mapping[str, type]

    def source(self, parameter: inspect.Parameter) -> _Source:
        """Say where a parameter comes from, by the rules of this file."""
        type_ = _bare(parameter.annotation)
        source = self._by_annotation(parameter, type_) or self._by_name(parameter, type_)
        if source is None and isinstance(type_, type) and issubclass(type_, _KNOWN_TO_FASTAPI):
            source = _Source.INJECTED
        if source is None:
            raise self._fault(parameter, self._advice(type_))
        return source

    def _by_annotation(self, parameter: inspect.Parameter, type_: Any) -> _Source | None:
        if has_marker(parameter):
            return _Source.INJECTED
        if Session in _members(type_):
            return _Source.SESSION
        if self.message is not None and type_ == _bare(self.message.type) and not _is_pythons_own(type_):
            return _Source.MESSAGE
        return None

    def _by_name(self, parameter: inspect.Parameter, type_: Any) -> _Source | None:
        if parameter.name in self.parts:
            return _Source.PART
        given = self.supplied.get(parameter.name)
        if given is not None:
            if not _takes(type_, given):
                raise self._fault(parameter, f"is given as {type_name(given)}")
            return _Source.SUPPLIED
        if self.message is not None and self._asks_for_message(parameter, self.message.type):
            return _Source.MESSAGE
        return None

    def _asks_for_message(self, parameter: inspect.Parameter, declared: Any) -> bool:
        type_ = _bare(parameter.annotation)
        if declared is None:
            return parameter.name == self.message_name or _is_compound(type_)
        if parameter.name != self.message_name:
            return False
        if not _takes(type_, declared):
            raise self._fault(parameter, f"is given as {type_name(declared)}, which is what was declared")
        return True

    def message_taker(self, parameters: Sequence[inspect.Parameter]) -> inspect.Parameter | None:
        """Give the one parameter that takes the message, if there is one."""
        if len(parameters) > 1:
            others = ", ".join(repr(parameter.name) for parameter in parameters[:-1])
            raise self._fault(parameters[-1], f"takes the message, and so does {others}")
        return parameters[0] if parameters else None

    def payload(self, parameter: inspect.Parameter) -> Payload | None:
        """Give what the message is validated as: what was declared, else what the parameter says."""
        if self.message is None or self.message.type is not None or parameter.annotation in _ANYTHING:
            return self.message
        return Payload(parameter.annotation)

    def part_adapter(self, parameter: inspect.Parameter) -> TypeAdapter[Any] | None:
        """Give what validates a part of the channel's name; None where any text will do."""
        if parameter.annotation is str or parameter.annotation in _ANYTHING:
            return None
        try:
            return adapter(parameter.annotation)
        except DeclarationError as error:
            raise self._fault(parameter, f"cannot be a part of a channel's name: {error}") from error

    def _advice(self, type_: Any) -> str:
        choices = [f"a part of the channel's name ({', '.join(self.parts)})"] if self.parts else []
        choices += [f"{name!r}" for name in self.supplied]
        if self.message is not None:
            named = "" if self.message.type is None else f" of type {type_name(self.message.type)}"
            choices.append(f"the message{named} ({self.message_name!r})")
        choices.append("the session (annotated Session)")
        advice = f"is none of what there is: {', '.join(choices)}"
        if not _is_compound(type_):
            annotation = "str" if type_ in _ANYTHING else type_name(type_)
            advice += f". For the query string of the handshake write Annotated[{annotation}, Query()]"
        return advice

    def _fault(self, parameter: inspect.Parameter, reason: str) -> DeclarationError:
        return DeclarationError(f"{self.where}: parameter {parameter.name!r} of {self.function} {reason}")


def _bare(annotation: Any) -> Any:
    """Give a type without what `Annotated` adds to it, or a ``type`` statement hides."""
    annotation = without_alias(annotation)
    return _bare(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def _members(type_: Any) -> tuple[Any, ...]:
    """Give the members of a union, or the one type."""
    return get_args(type_) if get_origin(type_) in (Union, types.UnionType) else (type_,)


def _is_pythons_own(type_: Any) -> bool:
    """Tell whether a type is too common to say by itself which parameter takes the message."""
    return any(getattr(get_origin(m) or m, "__module__", "") in ("builtins", "typing") for m in _members(type_))


def _takes(annotation: Any, given: Any) -> bool:
    """Tell whether a parameter's annotation allows what it will be given."""
    if annotation in _ANYTHING or annotation == _bare(given):
        return True
    return any(
        member == _bare(given) or (isinstance(member, type) and isinstance(given, type) and issubclass(given, member))
        for member in _members(annotation)
    )


def _is_compound(type_: Any) -> bool:
    """Tell whether FastAPI would read a parameter of this type from a request body."""
    for member in map(_bare, _members(type_)):
        class_ = get_origin(member) or member
        if not isinstance(class_, type) or issubclass(class_, str | bytes | UploadFile):
            continue
        if issubclass(class_, BaseModel | Mapping | Sequence | Set) or dataclasses.is_dataclass(class_):
            return True
    return False
