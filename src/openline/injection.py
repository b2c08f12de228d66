"""FastAPI's dependency injection around one call of a handler.

The one file that uses what FastAPI does not document: `get_dependant` and `solve_dependencies`, as FastAPI has no other
way to solve dependencies outside of a route; the fields of the `Dependant` they share; and the two keys of the scope
under which `solve_dependencies` finds the exit stacks it enters ``yield`` dependencies on. All of them are the same in
every release from 0.144 on.

Invariant: whatever a call opened is closed before its result is known, in the same task, whether it returns, raises or
is cancelled.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Annotated, Any, Final, final

from fastapi import Depends, params
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant, solve_dependencies
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection, Request

from openline.errors import BadRequest, DeclarationError, UnknownChannel, UsageError
from openline.handshake import SESSION_KEY
from openline.payload import reasons
from openline.session import Session

_REQUEST_STACK: Final = "fastapi_inner_astack"
_FUNCTION_STACK: Final = "fastapi_function_astack"

_INSTEAD_OF_REQUEST: Final = "take HTTPConnection from fastapi.requests: it reads the handshake"
_INSTEAD_OF_BODY: Final = "a message is taken by the handler itself, and the handshake has headers, cookies and a query"

#: What makes no sense where there is no HTTP request to answer, by the field of a `Dependant` that names its parameter.
_NOT_HERE: Final = {
    "request_param_name": ("Request", _INSTEAD_OF_REQUEST),
    "websocket_param_name": ("WebSocket", _INSTEAD_OF_REQUEST),
    "response_param_name": ("Response", "what the handler returns is the reply"),
    "background_tasks_param_name": ("BackgroundTasks", "start a task that the app's lifespan looks after"),
}


async def current_session(connection: HTTPConnection) -> Session:
    """Give the session a handler is called for, to a dependency of that handler.

    Raises:
        UsageError: the dependency is solved for something else, such as an HTTP route.
    """
    session = connection.scope.get(SESSION_KEY)
    if session is None:
        raise UsageError("CurrentSession is there for dependencies of a hub's handlers: here is no session")
    return session  # type: ignore[no-any-return]  # a scope holds anything


#: The session a handler is called for, in the dependencies of that handler.
CurrentSession = Annotated[Session, Depends(current_session)]


@final
class Injection:
    """The parameters of one handler that FastAPI injects.

    Args:
        parameters: of the handler; each has a marker of FastAPI's, or a type FastAPI knows.
        parts: the placeholders of the channel's pattern: path parameters to the dependencies.
        where: the handler, in errors.
    Raises:
        DeclarationError: FastAPI cannot inject them, or something is asked for that a handler does not have.
    """

    __slots__ = ("_dependant", "_parts", "_where", "reads_handshake")

    def __init__(self, parameters: Sequence[inspect.Parameter], *, parts: Sequence[str], where: str) -> None:
        self._where = where
        self._parts = frozenset(parts)
        try:
            self._dependant = get_dependant(path="".join(f"/{{{part}}}" for part in parts), call=_Asker(parameters))
        # FastAPI says what it cannot declare by any of these, its own assertions among them.
        except (AssertionError, NameError, RuntimeError, TypeError, ValueError) as error:
            # Before it looks at anything else, FastAPI wants the library that reads forms.
            forms = "multipart" in str(error)
            reason = f"a dependency reads a Form or File, and there is none: {_INSTEAD_OF_BODY}" if forms else error
            raise DeclarationError(f"{where}: {reason}") from error
        for dependant in _tree(self._dependant):
            _refuse_what_is_not_here(dependant, where)
        #: Whether anything here reads the headers, the query or the rest of the handshake, as far as declared.
        self.reads_handshake = any(map(self._reads, _tree(self._dependant, into_security=True)))

    def _reads(self, dependant: Dependant) -> bool:
        if dependant.call is current_session:
            return False
        return bool(
            dependant.query_params
            or dependant.header_params
            or dependant.cookie_params
            or any(field.alias not in self._parts for field in dependant.path_params)
            or dependant.http_connection_param_name
            or dependant.request_param_name
        )

    async def around(self, call: Callable[[dict[str, Any]], Awaitable[Any]], request: Request) -> Any:
        """Open the dependencies, make the call with their values, and close them again.

        Cancelling closes them too. A dependency that raises while it closes makes the call fail.

        Args:
            call: takes the values by the names of the parameters.
            request: belongs to this call.
        Returns:
            What the call returned.
        Raises:
            BadRequest: the handshake lacks a header, cookie or query parameter, or it does not fit.
            UnknownChannel: a part of the channel's name does not fit what a dependency wants of it.
            UsageError: a dependency swallowed the exception of the call.
        """
        scope = request.scope
        app = scope.get("app")
        raised: BaseException | None = None
        async with AsyncExitStack() as request_stack:
            scope[_REQUEST_STACK] = request_stack
            async with AsyncExitStack() as function_stack:
                scope[_FUNCTION_STACK] = function_stack
                try:
                    solved = await solve_dependencies(
                        request=request,
                        dependant=self._dependant,
                        dependency_overrides_provider=app if hasattr(app, "dependency_overrides") else None,
                        async_exit_stack=request_stack,
                        embed_body_fields=False,
                    )
                    self._refuse(solved.errors)
                    return await call(solved.values)
                except BaseException as error:
                    raised = error
                    raise
        raise UsageError(f"{self._where}: a dependency with yield swallowed an exception: raise it again") from raised

    def _refuse(self, errors: Sequence[Mapping[str, Any]]) -> None:
        if not errors:
            return
        for error in errors:
            kind, *field = error["loc"]
            if kind == "path" and field and field[0] in self._parts:
                raise UnknownChannel(f"unknown channel: {reasons([{**error, 'loc': field}])}")
        raise BadRequest(reasons(errors))


class _Asker:
    """A callable that has the parameters FastAPI is to inject, and no others."""

    def __init__(self, parameters: Sequence[inspect.Parameter]) -> None:
        self.__signature__ = inspect.Signature(
            [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        )

    def __call__(self) -> None:
        """Do nothing: it is only ever asked for its signature."""


def _tree(dependant: Dependant, *, into_security: bool = False) -> Iterator[Dependant]:
    """Walk a dependant and all it depends on, FastAPI's own security schemes left out or not."""
    if not into_security and isinstance(_unwrapped(dependant.call), SecurityBase):
        return
    yield dependant
    for dependency in dependant.dependencies:
        yield from _tree(dependency, into_security=into_security)


def _refuse_what_is_not_here(dependant: Dependant, where: str) -> None:
    call = _unwrapped(dependant.call)
    of = "" if isinstance(call, _Asker) else f" of the dependency {getattr(call, '__qualname__', call)}"
    for name, (kind, instead) in _NOT_HERE.items():
        parameter = getattr(dependant, name)
        if parameter is not None:
            raise DeclarationError(f"{where}: parameter {parameter!r}{of} is a {kind}, and there is none: {instead}")
    for field in dependant.body_params:
        kind = type(field.field_info).__name__
        raise DeclarationError(
            f"{where}: parameter {field.name!r}{of} is read from a request body ({kind}), and there is none:"
            f" {_INSTEAD_OF_BODY}"
        )


def _unwrapped(call: Any) -> Any:
    while isinstance(call, functools.partial):
        call = call.func
    return call


def has_marker(parameter: inspect.Parameter) -> bool:
    """Tell whether a parameter says itself what FastAPI is to inject: ``Depends``, ``Header`` and their like."""
    markers = (params.Depends, params.Param, params.Body)
    metadata = getattr(parameter.annotation, "__metadata__", ())
    return isinstance(parameter.default, markers) or any(isinstance(item, markers) for item in metadata)
