"""What a function of the app asks for: its parameters, with every annotation a type and not a text."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from openline.errors import DeclarationError

_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def read_signature(function: Callable[..., Any], where: str) -> inspect.Signature:
    """Give the signature of a function, method, callable object or partial, to be called by names alone.

    What a partial has been given by name is left out.

    Args:
        function: what the app declared.
        where: names the declaration in errors.
    Returns:
        The signature; its return annotation is empty where its type cannot be found.
    Raises:
        DeclarationError: it is no function to call once for one answer, a parameter has no name to be called by, or
            the type of one cannot be found.
    """
    if inspect.isclass(function) or not callable(function):
        raise DeclarationError(f"{where}: a handler is a function, not {function!r}")
    if any(inspect.isgeneratorfunction(layer) or inspect.isasyncgenfunction(layer) for layer in _layers(function)):
        raise DeclarationError(f"{where}: {name_of(function)} yields, and a handler returns; a dependency may yield")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise DeclarationError(f"{where}: {name_of(function)} does not say what it asks for: {error}") from error
    given = function.keywords if isinstance(function, functools.partial) else {}
    namespace = _namespace(function)
    parameters = []
    for parameter in signature.parameters.values():
        if parameter.name in given:
            continue
        if parameter.kind not in _BY_NAME:
            raise DeclarationError(f"{where}: {name_of(function)} has {parameter}: a handler is called by names alone")
        try:
            annotation = _resolve(parameter.annotation, namespace)
        except (NameError, SyntaxError, TypeError) as error:
            raise DeclarationError(
                f"{where}: the type of parameter {parameter.name!r} of {name_of(function)} cannot be found: {error}."
                " A type written as text, as all are under `from __future__ import annotations`, is looked for in"
                " the module: define or import it there."
            ) from error
        parameters.append(parameter.replace(annotation=annotation, kind=inspect.Parameter.KEYWORD_ONLY))
    try:
        returns = _resolve(signature.return_annotation, namespace)
    except (NameError, SyntaxError, TypeError):  # often imported for type checkers only
        returns = inspect.Signature.empty
    return inspect.Signature(parameters, return_annotation=returns)


def is_async(function: Callable[..., Any]) -> bool:
    """Tell whether a callable is to be called on the event loop: it, or what it wraps, is an ``async def``."""
    return any(inspect.iscoroutinefunction(layer) for layer in _layers(function))


def name_of(function: Callable[..., Any]) -> str:
    """Name a callable in an error."""
    layers = list(_layers(function))
    names = (getattr(layer, "__qualname__", None) for layer in layers)
    return f"{next((name for name in names if name), type(function).__qualname__)}()"


def _layers(function: Any) -> Iterator[Any]:
    """Give a callable, then what it stands for: of a partial its function, of a wrapper what it wraps."""
    while True:
        yield function
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif not inspect.isroutine(function) and not inspect.isclass(function) and callable(function):
            function = type(function).__call__  # of a callable object, its method
        else:
            return


def _namespace(function: Any) -> dict[str, Any]:
    """Give the names an annotation may use: the module's, and of the enclosing functions' those the code refers to."""
    *_, innermost = _layers(function)
    innermost = getattr(innermost, "__func__", innermost)
    names = dict(getattr(innermost, "__globals__", {}))
    cells = getattr(innermost, "__closure__", None) or ()
    for name, cell in zip(innermost.__code__.co_freevars if cells else (), cells, strict=True):
        try:
            names[name] = cell.cell_contents
        except ValueError:  # not assigned yet, such as the handler's own name while it is being decorated
            continue
    return names


def _resolve(annotation: Any, namespace: dict[str, Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return annotation
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    return without_alias(typing.get_type_hints(holder, namespace, include_extras=True)["it"])


def without_alias(annotation: Any) -> Any:
    """Give what a ``type`` statement stands for."""
    while type(annotation).__name__ == "TypeAliasType":  # of typing or of typing_extensions, by the Python's version
        annotation = annotation.__value__
    return annotation
