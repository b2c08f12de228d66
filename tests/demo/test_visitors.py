"""Who a visitor is: the token route."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from openline.demo import visitors


@pytest.fixture
def client() -> Iterator[TestClient]:
    """An app with nothing but the route."""
    app = FastAPI()
    app.include_router(visitors.router)
    with TestClient(app) as client:
        yield client


def ask(client: TestClient, name: str, earlier: str | None = None) -> dict[str, Any]:
    """Ask for a token, showing an earlier one or none."""
    headers = {"Authorization": f"Bearer {earlier}"} if earlier else {}
    answer = client.post("/token", json={"name": name}, headers=headers)
    assert answer.status_code == 200
    return dict(answer.json())


def test_token_names_the_visitor_and_runs_out(client: TestClient) -> None:
    """The hub reads user, name and end of validity from the signed claims."""
    given = ask(client, "  Ada ")

    claims = jwt.decode(given["token"], visitors.SECRET, [visitors.ALGORITHM])
    assert claims["sub"] == given["user"]
    assert claims["info"] == {"name": "Ada"}
    assert 0 < claims["exp"] - time.time() <= visitors.TOKEN_SECONDS


def test_two_visitors_of_one_name_are_two(client: TestClient) -> None:
    """A name is not an identity."""
    assert ask(client, "Ada")["user"] != ask(client, "Ada")["user"]


def test_earlier_token_keeps_the_user(client: TestClient) -> None:
    """Who shows a token of ours stays who they were."""
    given = ask(client, "Ada")

    assert ask(client, "Ada", given["token"])["user"] == given["user"]


def test_expired_token_keeps_the_user(client: TestClient) -> None:
    """That is what an earlier token is shown for."""
    expired = jwt.encode({"sub": "ada", "exp": 1}, visitors.SECRET, visitors.ALGORITHM)

    assert ask(client, "Ada", expired)["user"] == "ada"


@pytest.mark.parametrize("token", ["no token", jwt.encode({"sub": "ada"}, "another secret " * 3, "HS256")])
def test_foreign_token_gives_a_new_user(client: TestClient, token: str) -> None:
    """A token we did not sign proves nothing: nobody becomes somebody else by it."""
    assert ask(client, "Ada", token)["user"] != "ada"


@pytest.mark.parametrize("name", ["", "   ", "x" * 33])
def test_name_has_to_fit(client: TestClient, name: str) -> None:
    """No name, or one too long for the page, is refused."""
    assert client.post("/token", json={"name": name}).status_code == 422
