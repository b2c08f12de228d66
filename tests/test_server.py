"""The standalone server: the app its settings make, and what is told of settings that exclude each other."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from openline import JWT
from openline.server import application
from openline.settings import Settings, SettingsError, load
from openline.testing import connect, line, started
from tests.pages import ROOT, page
from tests.serving import ended, refused
from tests.test_settings import CHAT
from tests.wires.servers import uvicorn_server

SECRET = "thirty-two bytes that nobody can guess"
SIGNER = JWT(secret=SECRET)


def settings(tmp_path: Path, text: str) -> Settings:
    """Read settings from a file of this text."""
    file = tmp_path / "openline.toml"
    file.write_text(text)
    return load(file, {})


@asynccontextmanager
async def served(tmp_path: Path, text: str) -> AsyncIterator[FastAPI]:
    """Run the app that a file of this text makes."""
    app = application(settings(tmp_path, text))
    async with started(app):
        yield app


async def asked(app: FastAPI, method: str, path: str, **request: Any) -> httpx2.Response:
    """Send one HTTP request."""
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://host") as client:
        return await client.request(method, path, **request)


def told(tmp_path: Path, text: str) -> str:
    """Give what is told of settings that cannot work together."""
    with pytest.raises(SettingsError) as caught:
        application(settings(tmp_path, text))
    (problem,) = caught.value.problems
    return problem.replace(f"{tmp_path}/", "")


# --- what it serves ---------------------------------------------------------------------------------------------------


async def test_clients_talk_in_the_channels_of_the_file(tmp_path: Path) -> None:
    """Publish, history, presence, joins: as each channel is declared."""
    async with served(tmp_path, CHAT) as app, connect(app) as ada, connect(app, protobuf=True) as bob:
        await ada.subscribe("lobby", join_leave=True)
        assert (await ada.push())["join"]["info"]["user"] == ""
        await bob.subscribe("lobby")
        assert "join" in await ada.push()

        await bob.publish("lobby", {"text": "hello"})

        assert (await ada.publication())["data"] == {"text": "hello"}
        assert len(await ada.presence("lobby")) == 2
        assert len((await ada.history("lobby", limit=-1))["publications"]) == 1
        assert await refused(ada.presence("smallhistory:a")) == 108
        assert await refused(ada.subscribe("no:such:channel")) == 102


async def test_a_subscriber_is_recovered_whether_it_asked_or_not(tmp_path: Path) -> None:
    """``recovery = "stream"`` is for all subscribers."""
    async with served(tmp_path, CHAT) as app, connect(app) as ada:
        assert (await ada.subscribe("lobby"))["recoverable"]


async def test_the_server_api_is_there_with_a_key(tmp_path: Path) -> None:
    """What a back end publishes reaches clients; who has no key is refused, and there is a page of it."""
    async with served(tmp_path, CHAT) as app, connect(app) as ada:
        await ada.subscribe("lobby")
        order = {"channel": "lobby", "data": {"text": "hello"}}

        answer = await asked(app, "POST", "/api/publish", json=order, headers={"X-API-Key": "test-api-key"})

        assert answer.json()["result"]["offset"] == 1
        assert (await ada.publication())["data"] == {"text": "hello"}
        assert (await asked(app, "POST", "/api/publish", json=order)).status_code == 401
        assert "/api/publish" in (await asked(app, "GET", "/openapi.json")).json()["paths"]
        assert (await asked(app, "GET", "/docs")).status_code == 200


async def test_there_is_no_server_api_without_a_key(tmp_path: Path) -> None:
    """Nor a page of it."""
    async with served(tmp_path, "[auth]\nanonymous = true") as app:
        for path in ("/api/publish", "/docs", "/openapi.json"):
            assert (await asked(app, "POST", path)).status_code == 404


async def test_its_health_is_asked_by_http(tmp_path: Path) -> None:
    """200 while all works, 503 before it runs."""
    async with served(tmp_path, CHAT) as app:
        answer = await asked(app, "GET", "/health")
        assert (answer.status_code, answer.json()) == (200, {"problems": []})


async def test_joins_may_be_forced_on_all(tmp_path: Path) -> None:
    """Clients need not ask to be told who comes."""
    text = '[auth]\nanonymous = true\n[[channels]]\npattern = "a"\njoin_leave = "forced"\n'
    async with served(tmp_path, text) as app, connect(app) as ada:
        await ada.subscribe("a")
        assert "join" in await ada.push()


# --- who comes in -----------------------------------------------------------------------------------------------------

PROTECTED = f"""
[auth]
hmac_secret = "{SECRET}"

[[channels]]
pattern = "{{name}}"
protected = true
publish = true

[[channels]]
pattern = "#{{user}}"
personal = true
publish = true
"""


def token(user: str) -> str:
    """Sign a connection token."""
    return SIGNER.sign(user, expires_in=60)


def entry(user: str, channel: str) -> str:
    """Sign a subscription token."""
    return SIGNER.sign_subscription(user, channel, expires_in=60)


async def test_clients_need_tokens(tmp_path: Path) -> None:
    """One for the connection, one for each protected channel."""
    async with served(tmp_path, PROTECTED) as app:
        async with line(app) as stranger:
            assert await ended(stranger.connect()) == 3501
        async with connect(app, token=token("42")) as ada:
            assert await refused(ada.subscribe("lobby")) == 103
            await ada.subscribe("lobby", token=entry("42", "lobby"))


async def test_without_tokens_whose_are_sent_are_checked(tmp_path: Path) -> None:
    """An insecure server lets everybody in, and nobody as somebody else."""
    insecure = PROTECTED.replace("[auth]", "[auth]\ninsecure = true")
    async with served(tmp_path, insecure) as app:
        async with connect(app) as nobody:
            await nobody.subscribe("lobby")
            await nobody.publish("lobby", 1)
            assert (await nobody.publication())["info"]["user"] == ""
            assert await refused(nobody.subscribe("hall", token="forged")) == 103
        async with connect(app, token=token("42")) as ada:
            await ada.subscribe("lobby", token=entry("42", "lobby"))
            assert await ended(ada.subscribe("hall", token=entry("43", "hall"))) == 3500
        async with line(app) as mallory:
            assert await ended(mallory.connect(token="forged")) == 3500


async def test_each_user_has_a_channel_of_their_own(tmp_path: Path) -> None:
    """The server subscribes them; nobody else gets in, though another pattern, declared before, matches its name."""
    async with served(tmp_path, PROTECTED) as app, line(app) as ada, connect(app, token=token("43")) as mallory:
        assert list((await ada.connect(token=token("42")))["subs"]) == ["#42"]
        assert await refused(mallory.subscribe("#42", token=entry("43", "#42"))) == 103
        assert await refused(mallory.publish("#42", "boo")) == 103

        await ada.publish("#42", "a note to myself")

        assert (await ada.publication("#42"))["data"] == "a note to myself"


async def test_who_has_no_user_or_an_odd_one_has_no_such_channel(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are connected all the same; the log says of whom that is."""
    text = PROTECTED.replace("[auth]", "[auth]\nanonymous = true")
    async with served(tmp_path, text) as app, line(app) as nobody, line(app) as odd:
        assert "subs" not in await nobody.connect()
        assert "subs" not in await odd.connect(token=token("a b"))
    assert "without a personal channel" in caplog.text


# --- a back end -------------------------------------------------------------------------------------------------------


async def test_a_back_end_decides(tmp_path: Path) -> None:
    """Who connects, what may be subscribed to, what is answered; and each user's own channel is there all the same."""
    backend = FastAPI()
    heard: list[dict[str, Any]] = []

    @backend.post("/{event}")
    async def decide(event: str, said: dict[str, Any]) -> dict[str, Any]:
        heard.append({"event": event, **said})
        match event:
            case "connect":
                return {"result": {"user": "42"}}
            case "subscribe" if said["channel"] == "closed":
                return {"error": {"code": 403, "message": "closed"}}
            case "rpc":
                return {"result": {"data": said["method"]}}
            case _:
                return {"result": {}}

    with uvicorn_server(backend) as there:
        urls = "\n".join(
            f'{event} = "http://127.0.0.1:{there.port}/{event}"'
            for event in ("connect", "subscribe", "rpc", "disconnect")
        )
        text = f"""
            [events]
            {urls}
            [[channels]]
            pattern = "{{name}}"
            [[channels]]
            pattern = "free:{{name}}"
            events = []
            [[channels]]
            pattern = "#{{user}}"
            personal = true
        """
        async with served(tmp_path, text) as app, line(app) as ada:
            assert list((await ada.connect())["subs"]) == ["#42"]
            await ada.subscribe("open")
            await ada.subscribe("free:a")
            assert await refused(ada.subscribe("closed")) == 403
            assert await ada.rpc("who") == "who"
    assert [one["event"] for one in heard] == ["connect", "subscribe", "subscribe", "rpc", "disconnect"]
    assert heard[-1]["user"] == "42", "the last to leave is told of, though the server ends"


# --- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "auth: nobody could connect: give hmac_secret or public_keys to verify tokens with"),
        ("[auth]\nprevious_hmac_secrets = ['a']", "auth: previous_hmac_secrets is given without hmac_secret"),
        ("[auth]\npublic_keys = 'a'", "auth: JWT.public_key[0] "),
        ("[auth]\nanonymous = true\n[server]\nbroker = 'x://user:hush@host'", "server: broker "),
        ("[auth]\nanonymous = true\n[server]\nallowed_origins = ['example.com']", "server: "),
        ("[auth]\nanonymous = true\n[api]\nkey = 'an umlaut: \u00fc'", "api: "),
        ("[auth]\nanonymous = true\n[[channels]]\npattern = 'a {b}'", "channels \"a {b}\": channel pattern 'a {b}': "),
        ("[auth]\nanonymous = true\n[[channels]]\npattern = 'a'\ndelta = true", 'channels "a": delta'),
        (
            "[auth]\nanonymous = true\n[[channels]]\npattern = 'a'\nprotected = true",
            "channels \"a\": channel 'a' is prot",
        ),
        (
            "[auth]\nanonymous = true\n[[channels]]\npattern = 'a'\nhistory = {}\nslow = 'latest_only'",
            "channels \"a\": slow='latest_only' and history exclude each other",
        ),
        (
            "[auth]\nanonymous = true\n[[channels]]\npattern = '#{name}'\npersonal = true",
            'channels "#{name}": a personal channel has one placeholder, {user}',
        ),
        (
            "[auth]\nanonymous = true\n[[channels]]\npattern = '{a}'\n[[channels]]\npattern = '{b}'",
            'channels "{b}": ',
        ),
        ("[events]\nconnect = 'http://host:0/'", "events: connect is no http:// or https:// URL"),
    ],
)
def test_what_excludes_each_other_is_told_with_its_table(tmp_path: Path, text: str, problem: str) -> None:
    """One line, with the file and the table, and nothing of a secret."""
    line = told(tmp_path, text)

    assert line.startswith(f"openline.toml: {problem}"), line
    assert "hush" not in line
    assert "\n" not in line


def test_what_may_not_be_meant_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An insecure server, and one without channels."""
    caplog.set_level(logging.WARNING, "openline")

    application(settings(tmp_path, "[auth]\ninsecure = true"))

    assert "auth.insecure is on" in caplog.text
    assert "no channels are declared" in caplog.text


@pytest.mark.parametrize("file", sorted(ROOT.glob("tests/sdk_suites/*.toml")), ids=lambda file: str(file.name))
def test_the_files_for_the_suites_of_sdks_can_be_used(file: Path) -> None:
    """`make sdk-suites` is not run each time; its settings are read each time."""
    assert application(load(file, {})).routes


@pytest.mark.parametrize("file", ["openline.toml", "personal.toml"])
def test_the_files_of_the_page_can_be_used(tmp_path: Path, file: str) -> None:
    """Each makes an app."""
    page("docs/serve.md").write_files(tmp_path)

    assert application(load(tmp_path / file, {})).routes
