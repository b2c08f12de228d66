"""Check: runs on a set-up of its own, within its time, and says which guarantee is broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from openline.testing.contract import Check, ContractBroken, call, expect


@dataclass
class _Setup:
    """What a factory of these tests yields."""

    hook: str | None = None
    closed: bool = False


def _check(body: Callable[[_Setup], Awaitable[None]], *, needs: str = "") -> Check[_Setup]:
    return Check("it_works", "1 working", needs, body)


@asynccontextmanager
async def _make() -> AsyncIterator[_Setup]:
    yield _Setup()


async def test_passes() -> None:
    """A body that raises nothing has found nothing; the set-up is new each time and cleared up after."""
    seen: list[_Setup] = []

    @asynccontextmanager
    async def make() -> AsyncIterator[_Setup]:
        setup = _Setup()
        yield setup
        setup.closed = True

    async def body(setup: _Setup) -> None:
        assert not setup.closed
        seen.append(setup)

    await _check(body)(make)
    await _check(body)(make)
    assert seen[0] is not seen[1]
    assert all(setup.closed for setup in seen)


async def test_says_what_is_broken() -> None:
    """The message has the guarantee, the check and the problem, each of which the error carries as well."""

    async def body(setup: _Setup) -> None:
        expect(setup.hook is None, "not said")
        expect(setup.hook == "x", "the hook is no x")

    with pytest.raises(ContractBroken) as caught:
        await _check(body)(_make)
    assert str(caught.value) == "1 working (it_works): the hook is no x"
    assert caught.value.guarantee == "1 working"
    assert caught.value.check == "it_works"
    assert caught.value.problem == "the hook is no x"
    assert isinstance(caught.value, AssertionError)


async def test_an_exception_breaks_the_contract() -> None:
    """What the implementation raises is the cause, and named."""

    async def body(setup: _Setup) -> None:
        raise KeyError("lost")

    with pytest.raises(ContractBroken, match=r"1 working \(it_works\): raised KeyError\('lost'\)") as caught:
        await _check(body)(_make)
    assert isinstance(caught.value.__cause__, KeyError)


async def test_endless_waiting_breaks_the_contract() -> None:
    """A check ends within its time."""

    async def body(setup: _Setup) -> None:
        await asyncio.Event().wait()

    with pytest.raises(ContractBroken, match=r"not done within 0\.01 seconds"):
        await _check(body)(_make, limit_seconds=0.01)


async def test_an_error_of_the_factory_is_its_own() -> None:
    """A server that does not start breaks no contract."""
    servers: list[_Setup] = []

    @asynccontextmanager
    async def make() -> AsyncIterator[_Setup]:
        if not servers:
            raise OSError("no server")
        yield servers[0]

    async def body(setup: _Setup) -> None:
        pass

    with pytest.raises(OSError, match="no server"):
        await _check(body)(make)


async def test_needs_a_hook() -> None:
    """Where the set-up has no hook, a check that needs it checks nothing; where it has one, it runs."""
    ran: list[str | None] = []

    async def body(setup: _Setup) -> None:
        ran.append(setup.hook)

    @asynccontextmanager
    async def make_with_hook() -> AsyncIterator[_Setup]:
        yield _Setup(hook="x")

    await _check(body, needs="hook")(_make)
    await _check(body, needs="hook")(make_with_hook)
    assert ran == ["x"]


def test_shows_its_guarantee() -> None:
    """As the id of a test, a check reads as guarantee and name."""

    async def body(setup: _Setup) -> None:
        pass

    assert str(_check(body)) == "1 working: it_works"


async def test_an_immediate_call_may_not_suspend() -> None:
    """A promise to be immediate is held by stepping the call once; without the promise the call is awaited."""

    async def quick() -> int:
        return 1

    async def slow() -> int:
        await asyncio.sleep(0)
        return 2

    assert await call(quick(), immediate=True) == 1
    assert await call(slow(), immediate=False) == 2
    with pytest.raises(ContractBroken, match=r"immediate.*slow"):
        await call(slow(), immediate=True)
