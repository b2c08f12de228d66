"""Many commands in one request: a batch."""

from __future__ import annotations

import pytest

from openline import Limits
from tests.api.house import BackEnd, back_end, house_hub


async def replies(it: BackEnd, *commands: object, parallel: bool = False) -> list[dict[str, object]]:
    """Send a batch; give its replies, which stand in no result."""
    answer = await it.ask("batch", commands=commands, parallel=parallel)
    assert list(answer) == ["replies"], answer
    return list(answer["replies"])


async def test_a_batch_is_carried_out_in_order() -> None:
    """Each reply names its method and holds the bare result, or is an error; one that fails keeps no other back."""
    async with back_end() as it:
        first, second, history, failed, removed, top = await replies(
            it,
            {"publish": {"channel": "news:a", "data": 1}},
            {"publish": {"channel": "news:a", "data": 2}},
            {"history": {"channel": "news:a", "limit": -1}},
            {"publish": {"channel": "nowhere", "data": 1}},
            {"history_remove": {"channel": "news:a"}},
            {"history": {"channel": "news:a", "limit": -1}},
        )
        epoch = (await it.get("history", channel="news:a"))["epoch"]
        assert (first, second) == (
            {"publish": {"offset": 1, "epoch": epoch}},
            {"publish": {"offset": 2, "epoch": epoch}},
        )
        kept = [{"data": 1, "offset": 1}, {"data": 2, "offset": 2}]
        assert history == {"history": {"publications": kept, "epoch": epoch, "offset": 2}}
        assert failed == {"error": {"code": 102, "message": "no declared channel matches 'nowhere'"}}
        assert removed == {"history_remove": {}}
        assert top == {"history": {"publications": [], "epoch": epoch, "offset": 2}}


async def test_a_parallel_batch_keeps_the_order_of_its_replies() -> None:
    """Whatever is done first."""
    async with back_end() as it:
        commands = [{"publish": {"channel": f"news:{number % 7}", "data": number}} for number in range(250)]
        for number, reply in enumerate(await replies(it, *commands, parallel=True)):
            assert reply["publish"]["offset"] == number // 7 + 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({}, 104),
        ({"dance": {}}, 104),
        ({"batch": {"commands": []}}, 104),
        ({"map_publish": {}}, 108),
        ({"publish": 3}, 107),
        ({"publish": {"channel": 3}}, 107),
        ({"publish": None}, 107),
    ],
)
async def test_a_command_that_is_none_is_an_error_of_its_own(command: object, code: int) -> None:
    """Those beside it are carried out."""
    async with back_end() as it:
        before, failed, after = await replies(it, {"info": {}}, command, {"channels": {}})
        assert list(before) == ["info"]
        assert failed["error"]["code"] == code  # type: ignore[index]
        assert after == {"channels": {"channels": {}}}


async def test_bytes_that_are_no_text_are_an_error_of_their_own_command() -> None:
    """That is found only when the command is read: those before it have been carried out by then."""
    async with back_end() as it:
        body = b'{"commands":[{"info":{}},{"publish":{"channel":"\xff","data":1}}]}'
        first, second = (await it.http.post("/batch", content=body)).json()["replies"]
        assert (list(first), second["error"]["code"]) == (["info"], 107)


async def test_a_batch_has_bounds() -> None:
    """In commands, and in how deep a payload nests; an empty one is answered with no replies."""
    async with back_end(house_hub(limits=Limits(json_depth=3))) as it:
        assert await replies(it) == []
        code, words = await it.refused("batch", commands=[{"info": {}}] * 10_001)
        assert (code, words.partition(": ")[2]) == (107, "more than 10000 commands, which is the limit of a batch")
        assert len((await it.ask("batch", commands=[{"dance": {}}] * 9_000, parallel=None))["replies"]) == 9_000
        assert (await it.refused("batch", commands=3))[0] == 107
        assert (await it.refused("batch"))[0] == 107
        deep = {"publish": {"channel": "news:a", "data": [[[[1]]]]}}
        (reply,) = await replies(it, deep)
        assert reply == {"error": {"code": 107, "message": "data nests 4 deep, and 3 is the limit"}}


async def test_a_batch_tells_its_own_error_by_the_status_too() -> None:
    """Those of its commands are in the replies, whatever the mode."""
    async with back_end(error_mode="transport") as it:
        assert (await it.http.post("/batch", json={"commands": 3})).status_code == 400
        assert (await replies(it, {"dance": {}}))[0]["error"]["code"] == 104  # type: ignore[index]
