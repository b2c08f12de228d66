"""Whatever clients send, in whatever order: every command is answered or the connection ends, and nothing is left."""

from __future__ import annotations

import asyncio
import io
import logging
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openline import Accept, AlreadySubscribed, History, Hub, LimitExceeded, Limits, PermissionDenied, Session, codes
from openline.testing import Client, Closed, Refused, VirtualClock, connect
from tests.serving import serving

DECLARED = ("stream:a", "stream:b", "cache:a", "asked:a", "plain:a", "guarded:a", "hall")
ERRORS = {code.number for code in codes.ERRORS}
ENDS = {1006, *(code.number for code in codes.DISCONNECTS)}

channels = st.sampled_from((*DECLARED, "nowhere", "räume", "", "x" * 300))
positions = st.fixed_dictionaries({}, optional={"offset": st.integers(0, 5), "epoch": st.sampled_from(["", "other"])})
subscribing = st.fixed_dictionaries(
    {"channel": channels},
    optional={
        "recover": st.booleans(),
        "offset": st.integers(0, 5),
        "epoch": st.sampled_from(["", "other"]),
        "positioned": st.booleans(),
        "recoverable": st.booleans(),
        "join_leave": st.booleans(),
        "delta": st.sampled_from(["", "fossil", "other"]),
        "tf": st.just({"key": "a"}),
        "flag": st.integers(0, 3),
        "token": st.sampled_from(["", "bad"]),
    },
)
commands = st.one_of(
    st.fixed_dictionaries({"subscribe": subscribing}),
    st.fixed_dictionaries({"subscribe": subscribing}),
    st.fixed_dictionaries({"unsubscribe": st.fixed_dictionaries({"channel": channels})}),
    st.fixed_dictionaries({"publish": st.fixed_dictionaries({"channel": channels}, optional={"data": st.integers()})}),
    st.fixed_dictionaries({"presence": st.fixed_dictionaries({"channel": channels})}),
    st.fixed_dictionaries({"presence_stats": st.fixed_dictionaries({"channel": channels})}),
    st.fixed_dictionaries(
        {
            "history": st.fixed_dictionaries(
                {"channel": channels},
                optional={"limit": st.integers(-1, 3), "since": positions, "reverse": st.booleans()},
            )
        }
    ),
    st.fixed_dictionaries({"rpc": st.fixed_dictionaries({"method": st.sampled_from(["slow", "none"])})}),
    st.sampled_from([{"refresh": {"token": "x"}}, {"sub_refresh": {"channel": "plain:a", "token": "x"}}]),
)
steps = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 2), st.lists(commands, min_size=1, max_size=5)),
    st.tuples(st.just("send"), st.integers(0, 2), st.lists(commands, min_size=1, max_size=5)),
    st.tuples(st.just("put"), st.integers(0, 2), channels),
    st.tuples(st.just("take"), st.integers(0, 2), channels),
    st.tuples(st.just("freeze"), st.integers(0, 2), st.none()),
    st.tuples(st.just("thaw"), st.integers(0, 2), st.none()),
    st.tuples(st.just("cut"), st.integers(0, 2), st.none()),
    st.tuples(st.just("wait"), st.just(0), st.sampled_from([0, 1, 20])),
)


def busy_hub(clock: VirtualClock) -> Hub:
    """Give a hub with channels of every kind, and handlers that wait."""
    hub = Hub(clock=clock, limits=Limits(channels=4, recovery_publications=2, outbox_bytes=5_000, waiting_commands=3))
    history = History(size=3)
    hub.channel("stream:{name}", history=history, presence=True, join_leave=True, publish=True)
    hub.channel("cache:{name}", history=history, recovery="cache", publish=True)
    hub.channel("asked:{name}", history=history, recovery="asked", publish=True)
    hub.channel("plain:{name}", publish=True, presence=True)
    hub.channel("hall", presence=True, join_leave=True)
    guarded = hub.channel("guarded:{name}", presence=True, join_leave=True, history=history)
    count = iter(range(1_000_000))

    @hub.on_connect
    async def let_in() -> Accept:
        await asyncio.sleep(0)
        return Accept(channels=["hall"])

    @guarded.on_subscribe
    async def decide() -> None:
        await asyncio.sleep(0)
        if next(count) % 3 == 0:
            raise PermissionDenied

    @guarded.on_unsubscribe
    async def left() -> None:
        await asyncio.sleep(0)

    @guarded.on_publish
    async def said(message: int) -> int:
        await asyncio.sleep(0)
        return message + 1

    @hub.rpc("slow")
    async def slow(session: Session) -> int:
        for _ in range(5):
            await asyncio.sleep(0)
        return len(session.channels)

    return hub


async def answers_all(client: Client, answers: list[asyncio.Future[dict[str, Any]]]) -> None:
    """Wait for every answer: a result, a refusal, or the end."""
    for answer in answers:
        known = ERRORS
        try:
            await client.answer(answer)
            continue
        except Refused as error:
            code = error.code
        except Closed as closed:
            code, known = closed.code, ENDS
        assert code in known


async def run(plan: list[tuple[str, int, Any]]) -> Hub:
    """Have three clients do what was planned; one that is gone is replaced."""
    clock = VirtualClock()
    hub = busy_hub(clock)
    async with serving(hub) as app, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(app, protobuf=which == 2)) for which in range(3)]
        waiting: list[tuple[Client, list[asyncio.Future[dict[str, Any]]]]] = []
        for action, which, what in plan:
            if clients[which].is_closed:
                clients[which] = await stack.enter_async_context(connect(app))
            client, session = clients[which], hub.sessions.get(clients[which].id)
            if action == "send":
                waiting.append((client, client.batch(*what)))
            elif action == "wait":
                await clock.advance(what)
            elif action in ("freeze", "thaw", "cut"):
                getattr(client, action)()
            elif session is not None and action == "take":
                await session.unsubscribe(what)
            elif session is not None and what in DECLARED:
                try:
                    await session.subscribe(what)
                except (AlreadySubscribed, LimitExceeded):
                    continue
        for client in clients:
            client.thaw()
        for client, answers in waiting:
            await answers_all(client, answers)
    return hub


@given(st.lists(steps, max_size=25))
@settings(max_examples=150)
def test_every_command_is_answered_or_the_connection_ends_and_nothing_is_left(plan: list[tuple[str, int, Any]]) -> None:
    """No handler fails, nothing is logged as an error, no reply is missing, nobody waits for ever."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    handler.setLevel(logging.ERROR)
    logging.getLogger("openline").addHandler(handler)
    try:
        hub = asyncio.run(run(plan))
    finally:
        logging.getLogger("openline").removeHandler(handler)

    assert log.getvalue() == ""
    assert hub.counters.handler_errors == 0


pytestmark = pytest.mark.timeout(120)
