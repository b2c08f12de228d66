"""What the parameters of a handler ask for: settled by rules when the handler is declared.

A parameter of a handler is, by the first rule that fits:

1. FastAPI's, when it says so itself: ``Depends``, ``Security``, ``Header``, ``Cookie``, ``Query``, ``Path``.
2. The session, by its annotation `Session`.
3. The message, by its annotation: the declared type, unless that is one of Python's own such as ``str`` or ``dict``.
4. FastAPI's, by an annotation FastAPI knows: ``HTTPConnection``, ``SecurityScopes``.
5. A part of the channel's name, by the name of the placeholder.
6. Something else the event supplies, by its name: ``code``, ``reason``.
7. The message, by its name; where no type is declared also by an annotation that is a model, or another type FastAPI
   would read from a request body. The annotation is then the type.

Anything else is an error of the declaration: FastAPI would read it from the query string, and a misspelt part with it.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
from collections.abc import Mapping, Sequence, Set
from typing import Annotated, Any, Final, Union, final, get_args, get_origin

from fastapi.security import SecurityScopes
from pydantic import BaseModel, TypeAdapter
from starlette.background import BackgroundTasks
from starlette.datastructures import UploadFile
from starlette.requests import HTTPConnection
from starlette.responses import Response

from openline.errors import DeclarationError
from openline.injection import has_marker
from openline.payload import Payload, adapter, type_name
from openline.session import Session
from openline.signatures import without_alias

#: Annotations that allow whatever is given.
ANYTHING: Final = (inspect.Parameter.empty, Any, object)
#: Taken or refused by `Injection`, which knows which of them are there.
_KNOWN_TO_FASTAPI: Final = (HTTPConnection, Response, BackgroundTasks, SecurityScopes, UploadFile)


class Source(enum.Enum):
    """Where a parameter comes from."""

    INJECTED = enum.auto()
    SESSION = enum.auto()
    MESSAGE = enum.auto()
    PART = enum.auto()
    SUPPLIED = enum.auto()


@final
@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """What a handler may ask for at one event; each fault is a `DeclarationError` that names the parameter."""

    where: str  #: names the declaration in errors
    function: str  #: names the function in errors
    parts: tuple[str, ...]  #: the placeholders of the channel's pattern
    message: Payload | None  #: what the event carries, if anything
    message_name: str  #: the parameter name that asks for it
    supplied: Mapping[str, type]  #: what else there is, by the parameter's name

    def source(self, parameter: inspect.Parameter) -> Source:
        """Say where a parameter comes from, by the rules of this file."""
        type_ = _bare(parameter.annotation)
        source = self._by_annotation(parameter, type_) or self._by_name(parameter, type_)
        if source is None:
            raise self._fault(parameter, self._advice(type_))
        return source

    def _by_annotation(self, parameter: inspect.Parameter, type_: Any) -> Source | None:
        if has_marker(parameter):
            return Source.INJECTED
        if Session in _members(type_):
            return Source.SESSION
        if self.message is not None and type_ == _bare(self.message.type) and not _is_pythons_own(type_):
            return Source.MESSAGE
        if isinstance(type_, type) and issubclass(type_, _KNOWN_TO_FASTAPI):
            return Source.INJECTED
        return None

    def _by_name(self, parameter: inspect.Parameter, type_: Any) -> Source | None:
        if parameter.name in self.parts:
            return Source.PART
        given = self.supplied.get(parameter.name)
        if given is not None:
            if not _takes(type_, given):
                raise self._fault(parameter, f"is given as {type_name(given)}")
            return Source.SUPPLIED
        if self.message is not None and self._asks_for_message(parameter, self.message.type):
            return Source.MESSAGE
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
        if self.message is None or self.message.type is not None or parameter.annotation in ANYTHING:
            return self.message
        try:
            return Payload(parameter.annotation)
        except DeclarationError as error:
            raise self._fault(parameter, f"cannot be a message: {error}") from error

    def part_adapter(self, parameter: inspect.Parameter) -> TypeAdapter[Any] | None:
        """Give what validates a part of the channel's name; None where any text will do."""
        if parameter.annotation is str or parameter.annotation in ANYTHING:
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
            annotation = "str" if type_ in ANYTHING else type_name(type_)
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
    if annotation in ANYTHING or annotation == _bare(given):
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
