"""Frames: what counts as a command, in which order commands are done, and what ends a connection at once."""

from __future__ import annotations

import asyncio

import pytest

from openline import History, Hub, Limits, Session
from openline.testing import connect, line
from tests.serving import answered, serving


def open_hub(limits: Limits | None = None) -> Hub:
    """Give a hub with channels that allow everything."""
    hub = Hub(limits=limits)
    hub.channel("room:{name}", history=History(), presence=True, publish=True)
    return hub


async def test_a_reply_is_one_line_with_the_commands_id_and_a_result_under_the_commands_name() -> None:
    """The result is there even if it is empty, and no error stands beside it."""
    async with serving(open_hub()) as app, connect(app) as client:
        await answered(client, '{"id":7,"unsubscribe":{"channel":"room:a"}}')

        assert client.frames[-1] == '{"id":7,"unsubscribe":{}}'


async def test_a_refusal_is_an_error_with_code_and_message_and_the_connection_stays() -> None:
    """`temporary` is written only where it is true."""
    async with serving(open_hub()) as app, connect(app) as client:
        await answered(client, '{"id":7,"publish":{"channel":"nowhere","data":1}}')

        assert client.frames[-1] == '{"id":7,"error":{"code":102,"message":"unknown channel"}}'
        assert await client.publish("room:a", 1) == {}


async def test_several_commands_of_one_frame_are_answered_in_their_order() -> None:
    """Each by its own reply; joined in one frame as they are ready in one turn."""
    async with serving(open_hub()) as app, connect(app) as client:
        frame = "\n".join(
            f'{{"id":{number},"publish":{{"channel":"room:a","data":{number}}}}}' for number in range(2, 202)
        )
        replies = await answered(client, frame, count=200)

        assert [reply["id"] for reply in replies] == list(range(2, 202))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
async def test_a_frame_may_end_with_newlines(end: str) -> None:
    """They separate nothing."""
    async with serving(open_hub()) as app, connect(app) as client:
        assert await answered(client, '{"id":2,"publish":{"channel":"room:a","data":1}}' + end) == [
            {"id": 2, "publish": {}}
        ]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param("", id="an empty frame"),
        pytest.param("not json", id="no JSON"),
        pytest.param('{"id":2,"unsubscribe":{"channel":"a"}', id="half a command"),
        pytest.param('[{"id":2,"unsubscribe":{"channel":"a"}}]', id="a list"),
        pytest.param('{"id":2}', id="an id and nothing else"),
        pytest.param('{"id":2,"dance":{}}', id="an unknown command"),
        pytest.param('{"id":2,"ping":{}}', id="the ping command"),
        pytest.param('{"ping":{}}', id="the ping command without an id"),
        pytest.param('{"unsubscribe":{"channel":"room:a"}}', id="no id"),
        pytest.param('{"id":0,"unsubscribe":{"channel":"room:a"}}', id="id 0"),
        pytest.param('{"id":-1,"unsubscribe":{"channel":"room:a"}}', id="an id below 0"),
        pytest.param('{"id":"2","unsubscribe":{"channel":"room:a"}}', id="an id that is text"),
        pytest.param('{"id":2,"connect":{}}', id="a second connect"),
        pytest.param("{}", id="a pong nobody waits for"),
        pytest.param('{"id":2,"subscribe":{"channel":5}}', id="a field of the wrong type"),
    ],
)
async def test_what_is_not_of_the_protocol_closes_with_3501(frame: str) -> None:
    """It is not answered: a client that sends this cannot read answers either."""
    async with serving(open_hub()) as app, connect(app) as client:
        client.send_frame(frame)

        closed = await client.closed()
        assert (closed.code, closed.reason) == (3501, "bad request")
        assert len(client.frames) == 1  # the answer to connect


async def test_what_stood_before_a_broken_command_in_its_frame_is_answered_first() -> None:
    """Commands are taken in order; what is queued for a client goes out before the close."""
    async with serving(open_hub()) as app, connect(app) as client:
        client.send_frame('{"id":2,"publish":{"channel":"room:a","data":1}}\n{"id":3}')

        assert await client.push() == {"id": 2, "publish": {}}
        assert (await client.closed()).code == 3501


async def test_what_stands_behind_a_broken_command_in_its_frame_is_not_done() -> None:
    """The connection is over with it."""
    hub = open_hub()
    async with serving(hub) as app, connect(app) as witness, connect(app) as client:
        await witness.subscribe("room:a")
        client.send_frame('{"id":2}\n{"id":3,"publish":{"channel":"room:a","data":"late"}}')
        await client.closed()
        await witness.publish("room:a", "next")

        assert (await witness.publication())["data"] == "next"


async def test_fields_nobody_knows_are_ignored() -> None:
    """A newer client says more than this server understands."""
    async with serving(open_hub()) as app, connect(app) as client:
        assert await client.command("subscribe", channel="room:a", flag=1, shape="round")


async def test_of_two_requests_in_one_command_the_first_of_the_schema_counts() -> None:
    """In the order of the schema, not of the text."""
    async with serving(open_hub()) as app, connect(app) as client:
        frame = '{"id":2,"rpc":{"method":"x"},"unsubscribe":{"channel":"room:a"}}'

        assert await answered(client, frame) == [{"id": 2, "unsubscribe": {}}]


async def test_replies_keep_the_order_of_the_commands_when_a_handler_takes_long() -> None:
    """Commands of one connection run one at a time: what comes behind a slow one waits for it."""
    hub = open_hub()
    gate = asyncio.Event()

    @hub.rpc("slow")
    async def slow() -> str:
        await gate.wait()
        return "done"

    async with serving(hub) as app, connect(app) as client, connect(app) as other:
        slow_answer, *rest = client.batch(
            {"rpc": {"method": "slow"}},
            {"subscribe": {"channel": "room:a"}},
            {"publish": {"channel": "room:a", "data": 1}},
        )
        await other.publish("room:a", "others go on")
        assert not any(answer.done() for answer in rest)
        gate.set()

        assert await client.answer(slow_answer) == {"data": "done"}
        assert (await client.answer(rest[0]))["positioned"]
        assert await client.answer(rest[1]) == {}
        text = "\n".join(str(frame) for frame in client.frames)
        assert text.index('"id":2') < text.index('"id":3') < text.index('"id":4')


async def test_past_the_bound_of_waiting_commands_reading_stops_and_all_are_answered_in_the_end() -> None:
    """A client that sends faster than its handlers answer is held back, not closed, and nothing is forgotten."""
    hub = open_hub(Limits(waiting_commands=3))
    gate = asyncio.Event()

    @hub.rpc("slow")
    async def slow(session: Session) -> None:
        await gate.wait()

    async with serving(hub) as app, connect(app) as client:
        answers = [client.batch({"rpc": {"method": "slow"}})[0] for _ in range(20)]
        gate.set()

        for answer in answers:
            assert await client.answer(answer) == {"data": None}


async def test_a_client_that_goes_while_its_command_runs_gets_nothing_more_done() -> None:
    """What was waiting behind the running one is forgotten."""
    hub = open_hub()
    gate, running = asyncio.Event(), asyncio.Event()
    calls: list[int] = []

    @hub.rpc("slow")
    async def slow(message: int) -> None:
        calls.append(message)
        running.set()
        await gate.wait()

    async with serving(hub) as app:
        async with connect(app) as client:
            client.batch({"rpc": {"method": "slow", "data": 1}}, {"rpc": {"method": "slow", "data": 2}})
            await asyncio.wait_for(running.wait(), 5)
        gate.set()

    assert calls == [1]


@pytest.mark.parametrize(
    "frame",
    [
        '{"id":1,"subscribe":{"channel":"room:a"}}',
        '{"id":1,"publish":{"channel":"room:a","data":1}}',
        '{"send":{"data":1}}',
        '{"id":1,"rpc":{"method":"x"}}',
        '{"id":1,"refresh":{"token":"x"}}',
        "{}",
    ],
)
async def test_anything_before_connect_closes_with_3501(frame: str) -> None:
    """The first command is connect."""
    async with serving(open_hub()) as app, line(app) as client:
        client.send_frame(frame)

        assert (await client.closed()).code == 3501
        assert client.frames == []
