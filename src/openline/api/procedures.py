"""Procedures of the server's own, which back ends call over the API's `rpc`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, final, get_type_hints

from starlette.concurrency import run_in_threadpool

from openline.errors import DeclarationError, MethodNotFound
from openline.payload import Payload

#: What takes the parameters of a call: a function of one parameter, or of none.
Procedure = Callable[..., Any]

_NOTHING: Final = b"null"


@final
class Procedures:
    """The procedures of one API.

    Args:
        functions: by method. Each takes what it is given as its one parameter, validated by Pydantic by its annotation,
            or has no parameter. A plain function runs in a thread.
    Raises:
        DeclarationError: one takes more than that.
    """

    __slots__ = ("_calls",)

    def __init__(self, functions: Mapping[str, Procedure]) -> None:
        self._calls = {method: _Call(method, function) for method, function in functions.items()}

    async def call(self, method: str, params: bytes) -> bytes:
        """Call one; give its result as JSON.

        Raises:
            MethodNotFound: there is none of this name.
            BadRequest: the parameters do not fit; the message names the field.
        """
        call = self._calls.get(method)
        if call is None:
            raise MethodNotFound
        return await call(params)


class _Call:
    """One procedure, ready to be called."""

    __slots__ = ("_function", "_params", "_result")

    def __init__(self, method: str, function: Procedure) -> None:
        parameters = list(inspect.signature(function).parameters.values())
        if len(parameters) > 1:
            raise DeclarationError(f"procedure {method!r} takes {len(parameters)} parameters: it is given one")
        hints = get_type_hints(function, include_extras=True)
        self._function = function
        self._params = Payload(hints.get(parameters[0].name)) if parameters else None
        self._result = Payload(hints.get("return"))

    async def __call__(self, params: bytes) -> bytes:
        given = () if self._params is None else (self._params.validate(params or _NOTHING),)
        if inspect.iscoroutinefunction(self._function):
            result = await self._function(*given)
        else:
            result = await run_in_threadpool(self._function, *given)
        return self._result.encode(result)
