"""Procedures of the server's own, which back ends call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import HTTPException
from pydantic import BaseModel

from openline import DeclarationError, Hub, PermissionDenied, Refusal
from tests.api.house import KEY, back_end


class Order(BaseModel):
    """What a procedure takes."""

    number: int


async def double(order: Order) -> Order:
    """Give an order of twice the number."""
    return Order(number=order.number * 2)


async def test_a_procedure_takes_its_parameters_by_their_type() -> None:
    """And what it gives is written by its own; what does not fit is told by its field."""
    async with back_end(procedures={"double": double}) as it:
        assert await it.get("rpc", method="double", params={"number": "4"}) == {"data": {"number": 8}}
        assert (await it.refused("rpc", method="double", params={}))[1] == "number: Field required"
        assert (await it.refused("rpc", method="double"))[0] == 107
        assert (await it.refused("rpc", method="triple"))[0] == 104
        assert (await it.refused("rpc", method=""))[0] == 107


async def test_a_procedure_may_take_and_give_nothing() -> None:
    """A plain function runs in a thread, and what takes anything is given what came."""

    def thread() -> str:
        return threading.current_thread().name

    def echo(params: Any) -> Any:
        return params

    async def nothing() -> None:
        pass

    async with back_end(procedures={"thread": thread, "echo": echo, "nothing": nothing}) as it:
        name = (await it.get("rpc", method="thread", params={"passed": "over"}))["data"]
        assert name != threading.current_thread().name
        assert await it.get("rpc", method="echo", params=[1, None]) == {"data": [1, None]}
        assert await it.get("rpc", method="echo") == {"data": None}
        assert await it.get("rpc", method="nothing") == {"data": None}


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (PermissionDenied("not you"), (103, "not you")),
        (Refusal("the app's own", code=1234), (1234, "the app's own")),
        (HTTPException(422, "no such order"), (107, "no such order")),
    ],
)
async def test_a_procedure_may_refuse(error: Exception, told: tuple[int, str]) -> None:
    """As handlers do; by the status it is 400 where the reference has no other."""

    async def refuse() -> None:
        raise error

    async with back_end(procedures={"refuse": refuse}) as it:
        assert await it.refused("rpc", method="refuse") == told
        headers = {"X-Centrifugo-Error-Mode": "transport"}
        assert (await it.http.post("/rpc", json={"method": "refuse"}, headers=headers)).status_code == 400


@pytest.mark.parametrize("function", [lambda a, b: None, double.__class__])
def test_what_takes_more_than_parameters_is_no_procedure(function: Callable[..., Any]) -> None:
    """It is told as it is declared."""
    with pytest.raises(DeclarationError, match="procedure 'x'"):
        Hub().api(KEY, procedures={"x": function})
