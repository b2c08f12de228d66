"""Who may use the API, and how a key is sent."""

from __future__ import annotations

import httpx2
import pytest
from fastapi import FastAPI

from openline import DeclarationError, Hub
from openline.testing import started


async def asked(key: str | list[str], **request: object) -> int:
    """Ask an API with these keys for something; give the status."""
    hub = Hub()
    app = FastAPI()
    app.include_router(hub.api(key))
    async with started(app), httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as http:
        answer = await http.post("/api/info", **request)  # type: ignore[arg-type]
        return answer.status_code


@pytest.mark.parametrize(
    "request_",
    [
        {"headers": {"X-API-Key": "secret"}},
        {"headers": {"Authorization": "apikey secret"}},
        {"headers": {"Authorization": "ApiKey secret"}},
        {"params": {"api_key": "secret"}},
        {"headers": {"X-API-Key": "wrong", "Authorization": "apikey secret"}},
    ],
)
async def test_a_key_comes_in_one_of_three_places(request_: dict[str, object]) -> None:
    """Two headers, and the URL."""
    assert await asked("secret", **request_) == 200


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"headers": {"X-API-Key": ""}},
        {"headers": {"X-API-Key": "Secret"}},
        {"headers": {"X-API-Key": "secret2"}},
        {"headers": {"X-API-Key": "secre"}},
        {"headers": {"X-API-Key": "sécret".encode()}},
        {"headers": {"Authorization": "secret"}},
        {"headers": {"Authorization": "Bearer secret"}},
        {"headers": {"Authorization": "apikey"}},
        {"params": {"api_key": ""}},
        {"params": {"key": "secret"}},
    ],
)
async def test_without_a_key_nobody_comes_in(request_: dict[str, object]) -> None:
    """Nor with another, or in another place."""
    assert await asked("secret", **request_) == 401


@pytest.mark.parametrize("key", ["old", "new"])
async def test_each_of_several_keys_is_good(key: str) -> None:
    """So that one can take the place of another while both are in use."""
    assert await asked(["old", "new"], headers={"X-API-Key": key}) == 200
    assert await asked(["old", "new"], headers={"X-API-Key": "old,new"}) == 401


@pytest.mark.parametrize("keys", ["", [], [""], ["good", ""], "two words", "ключ", "line\n"])
def test_a_key_that_cannot_be_sent_is_refused_as_it_is_declared(keys: str | list[str]) -> None:
    """The message does not repeat it: it goes into a log."""
    with pytest.raises(DeclarationError, match="server API") as caught:
        Hub().api(keys)
    assert "words" not in str(caught.value)
