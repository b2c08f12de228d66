"""Contract suites: what an interface promises, as checks that run against any implementation of it.

A suite is a list of `Check`. Each names one guarantee, gets a fresh set-up from a factory the implementer writes, and
fails with `ContractBroken`, whose message begins with that guarantee. Nothing here depends on a test runner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, final

Setup = TypeVar("Setup")
Result = TypeVar("Result")

#: The body of a check: takes what the factory made.
Body = Callable[[Setup], Awaitable[None]]


@final
class ContractBroken(AssertionError):
    """An implementation does not keep a guarantee; the message says which and how."""

    def __init__(self, problem: str, *, guarantee: str = "", check: str = "") -> None:
        super().__init__(f"{guarantee} ({check}): {problem}" if guarantee else problem)
        self.problem = problem
        self.guarantee = guarantee  #: its number and name, as in the interface's own text
        self.check = check  #: the name of the check that found it


def expect(kept: bool, problem: str) -> None:
    """Break off the check that runs unless `kept`.

    Raises:
        ContractBroken: with `problem`, to which the check adds its guarantee.
    """
    if not kept:
        raise ContractBroken(problem)


@final
@dataclass(frozen=True, slots=True)
class Check(Generic[Setup]):
    """One guarantee, checked: call it with a factory.

    The factory makes an async context manager; entering it yields a set-up nobody used before, leaving it clears up.
    """

    name: str  #: what is checked, in a few words joined by underscores
    guarantee: str  #: its number and name, as in the interface's own text
    needs: str  #: the optional field of the set-up it cannot do without; where that is None nothing is checked
    body: Body[Setup]

    async def __call__(
        self, make: Callable[[], AbstractAsyncContextManager[Setup]], *, limit_seconds: float = 30
    ) -> None:
        """Run.

        Args:
            make: the factory; what it raises itself is passed on as it is.
            limit_seconds: a check that takes longer has failed.
        Raises:
            ContractBroken: the guarantee is not kept. An exception of the implementation is its cause.
        """
        async with make() as setup:
            if self.needs and getattr(setup, self.needs) is None:
                return
            try:
                async with asyncio.timeout(limit_seconds):
                    await self.body(setup)
            except ContractBroken as broken:
                raise self._broken(broken.problem) from broken.__cause__
            except TimeoutError as error:
                raise self._broken(f"not done within {limit_seconds} seconds") from error
            except Exception as error:
                raise self._broken(f"raised {error!r}") from error

    def _broken(self, problem: str) -> ContractBroken:
        return ContractBroken(problem, guarantee=self.guarantee, check=self.name)

    def __str__(self) -> str:
        return f"{self.guarantee}: {self.name}"


async def call(coroutine: Coroutine[Any, Any, Result], *, immediate: bool) -> Result:
    """Await a call of the implementation; if it promises to be immediate, hold it to that.

    Raises:
        ContractBroken: the promise is not kept.
    """
    if not immediate:
        return await coroutine
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: Result = done.value
        return result
    coroutine.close()
    raise ContractBroken(f"`immediate` is promised, yet a call suspended: {coroutine!r}")
