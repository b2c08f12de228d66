"""The settings of the standalone server: what is read, from where, and what is told of what cannot be."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, SecretStr

from openline import Heartbeat, History, Limits
from openline.settings import ChannelSettings, Settings, SettingsError, load
from tests.pages import page

#: A file that says something of everything a chat needs.
CHAT = """
[server]
host = "127.0.0.1"
port = 8000
broker = "memory://"
allowed_origins = ["*"]

[auth]
hmac_secret = "secret"
insecure = true            # clients need no token; a token that is sent is still checked where it says who the user is

[api]
key = "test-api-key"

[[channels]]
pattern = "{name}"
presence = true
join_leave = true
publish = true
history = { size = 100, seconds = 300 }
recovery = "stream"        # forced for all subscribers
delta = true

[[channels]]
pattern = "smallhistory:{name}"
publish = true
history = { size = 2, seconds = 300 }
recovery = "stream"
"""


def read(tmp_path: Path, text: str, **environment: str) -> Settings:
    """Read a file of this text, with these variables over it."""
    file = tmp_path / "openline.toml"
    file.write_text(text)
    return load(file, environment)


def refused(tmp_path: Path, text: str, **environment: str) -> list[str]:
    """Give what is told of a file that cannot be; of the file's path its name is left."""
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text, **environment)
    return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_whole_file(tmp_path: Path) -> None:
    """Every key arrives where it belongs; what is not said is as its default says."""
    settings = read(tmp_path, CHAT)

    assert (settings.server.host, settings.server.port) == (["127.0.0.1"], 8000)
    assert settings.server.allowed_origins == ["*"]
    assert settings.auth.hmac_secret == SecretStr("secret")
    assert settings.auth.insecure
    assert settings.api.key == [SecretStr("test-api-key")]
    assert settings.channels == [
        ChannelSettings(
            pattern="{name}",
            presence=True,
            join_leave=True,
            publish=True,
            history=History(size=100, seconds=300),
            delta=True,
        ),
        ChannelSettings(pattern="smallhistory:{name}", publish=True, history=History(size=2, seconds=300)),
    ]
    assert settings.source == str(tmp_path / "openline.toml")


def test_limits_and_heartbeat_are_those_of_a_hub(tmp_path: Path) -> None:
    """Their fields are the keys, and infinity is a number."""
    settings = read(tmp_path, "[limits]\nchannels = 7\ncommands_per_second = inf\n[heartbeat]\nping_seconds = 30\n")

    assert settings.limits == Limits(channels=7, commands_per_second=math.inf)
    assert settings.heartbeat == Heartbeat(ping_seconds=30)


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    """There is a default for everything but a channel's pattern."""
    assert dict(read(tmp_path, "")) == dict(Settings())


def test_one_or_several_of_what_may_be_several(tmp_path: Path) -> None:
    """A host, a key, an audience stand alone or in a list."""
    settings = read(
        tmp_path, '[server]\nhost = ["::1", "127.0.0.1"]\n[api]\nkey = ["a", "b"]\n[auth]\naudience = "c"\n'
    )

    assert settings.server.host == ["::1", "127.0.0.1"]
    assert settings.api.key == [SecretStr("a"), SecretStr("b")]
    assert settings.auth.audience == ["c"]


# --- the environment --------------------------------------------------------------------------------------------------


def test_a_variable_goes_over_the_file(tmp_path: Path) -> None:
    """Section and key stand between double underscores; numbers and switches are written as they are."""
    settings = read(
        tmp_path,
        CHAT,
        OPENLINE_SERVER__PORT="9000",
        OPENLINE_AUTH__INSECURE="false",
        OPENLINE_AUTH__HMAC_SECRET="123",
        OPENLINE_HEARTBEAT__PONG_SECONDS="2.5",
    )

    assert settings.server.port == 9000
    assert settings.server.allowed_origins == ["*"], "the rest of the table is the file's"
    assert not settings.auth.insecure
    assert settings.auth.hmac_secret == SecretStr("123")
    assert settings.heartbeat.pong_seconds == 2.5


def test_lists_and_tables_in_a_variable_are_written_as_in_the_file(tmp_path: Path) -> None:
    """That is how a whole server is configured without a file."""
    settings = load(
        None,
        {
            "OPENLINE_SERVER__ALLOWED_ORIGINS": '["https://a.example"]',
            "OPENLINE_CHANNELS": '[{ pattern = "room:{name}", join_leave = "forced", history = { size = 3 } }]',
        },
    )

    assert settings.server.allowed_origins == ["https://a.example"]
    assert settings.channels == [ChannelSettings(pattern="room:{name}", join_leave="forced", history=History(size=3))]
    assert settings.source == "environment"


@pytest.mark.parametrize("secret", ["[x", "[1]", "{}", "123", "true", "1979-05-27", "'quoted'", '"', "1\nvalue = 2"])
def test_text_may_look_like_something_else(tmp_path: Path, secret: str) -> None:
    """A secret may be anything."""
    assert read(tmp_path, "", OPENLINE_AUTH__HMAC_SECRET=secret).auth.hmac_secret == SecretStr(secret)
    if secret != "[1]":  # where there may be several, a list is several
        assert read(tmp_path, "", OPENLINE_API__KEY=secret).api.key == [SecretStr(secret)]


def test_other_variables_are_left_alone(tmp_path: Path) -> None:
    """Orchestrators give every process variables named after its neighbours, with single underscores."""
    settings = read(tmp_path, "", OPENLINE_SERVER_PORT="tcp://10.0.0.1:80", OPENLINE_SERVICE_HOST="a")

    assert dict(settings) == dict(Settings())


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[server]\nprot = 8", "server.prot: there is no such key; did you mean port?"),
        ("[heartbeat]\nx = 8", "heartbeat.x: there is no such key; known are ping_seconds, pong_seconds"),
        ("[limits]\nchanels = 8", "limits.chanels: there is no such key; did you mean channels?"),
        ("[limits]\nchannels = 0", "limits: Limits.channels is 0: it must be a whole number, and at least 1"),
        ("[evnts]", "evnts: there is no such key; did you mean events?"),
        ("[server]\nport = true", "server.port: it should be a whole number"),
        ("[server]\nport = '8000'", "server.port: it should be a whole number"),
        ("[server]\nallowed_origins = '*'", "server.allowed_origins: it should be a list"),
        ("[auth]\ninsecure = 1", "auth.insecure: it should be true or false"),
        ("[auth]\nhmac_secret = 1", "auth.hmac_secret: it should be text"),
        ("[limits]\nconnections = true", "limits.connections: it should be a whole number"),
        ("[heartbeat]\npong_seconds = '1'", "heartbeat.pong_seconds: it should be a number"),
        ("[server]\nport = 70000", "server.port: it should be less than or equal to 65535"),
        ("[server]\nhost = []", "server.host: it should not be empty"),
        ("[api]\nkey = ''", "api.key.0: it should not be empty"),
        ("[[channels]]\npresence = true", "channels, number 1 pattern: is missing"),
        (
            "[[channels]]\npattern = 'a'\nhistory = { seconds = 'x' }",
            'channels "a" history.seconds: it should be a number',
        ),
        (
            "[[channels]]\npattern = 'a'\nhistory = { size = 0 }",
            'channels "a" history: History.size is 0: it must be a number, and at least 1',
        ),
        (
            "[[channels]]\npattern = 'a'\njoin_leave = 'yes'",
            "channels \"a\" join_leave: it should be false, true or 'forced'",
        ),
        ("[events]\nconnect = 'backend'", "events.connect: it should begin with http:// or https:// and a host"),
        ("server = 5", "server: it should be a table"),
        ("[server", "is not TOML: Expected ']' at the end of a table declaration (at end of document)"),
    ],
)
def test_what_cannot_be_is_told_with_file_key_and_reason(tmp_path: Path, text: str, problem: str) -> None:
    """One line for one mistake."""
    assert refused(tmp_path, text) == [f"openline.toml: {problem}"]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Nobody mends a file one start at a time."""
    assert len(refused(tmp_path, "[server]\nport = 'x'\nprot = 1\n[auth]\nsecret = 1\n[[channels]]\n")) == 4


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        (
            "OPENLINE_SERVER__PORT",
            "x",
            "server.port: it should be a whole number",
        ),
        ("OPENLINE_SERVER__PROT", "1", "server.prot: there is no such key; did you mean port?"),
        ("OPENLINE_SREVER__PORT", "1", "srever: there is no such key; did you mean server?"),
        ("OPENLINE_CHANNELS", "[{}]", "channels, number 1 pattern: is missing"),
        ("OPENLINE_SERVER__PORT__X", "1", "port is no table that has keys"),
    ],
)
def test_a_mistake_in_a_variable_is_told_with_its_name(tmp_path: Path, variable: str, value: str, problem: str) -> None:
    """Whoever wrote the file has nothing to do with it."""
    assert refused(tmp_path, "[server]\nport = 8000\n", **{variable: value}) == [f"environment: {variable}: {problem}"]


@pytest.mark.parametrize(
    "text",
    [
        "[auth]\nhmac_secret = ['hush']",
        "[auth]\nhmac_secret = { value = 'hush' }",
        "[auth]\nprevious_hmac_secrets = [['hush']]",
        "[api]\nkey = [1, 'hush']",
        "[server]\nbroker = ['valkey://:hush@host']",
        "[auth]\nhmac_secrt = 'hush'",
        "[events]\nsecret = 'hush'\nconnect = 'http:hush'",
        "[auth]\nhmac_secret = 'hush",
    ],
)
def test_a_secret_is_never_shown(tmp_path: Path, text: str) -> None:
    """Neither in what is told of a mistake, nor where settings are printed."""
    assert "hush" not in "".join(refused(tmp_path, text))
    assert "secret'" not in repr(read(tmp_path, CHAT))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """And so is one that is a folder, or no text."""
    for name in ("missing.toml", "."):
        with pytest.raises(SettingsError, match=r"cannot be read: (No such file|Is a directory)"):
            load(tmp_path / name, {})
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="is not UTF-8"):
        load(tmp_path / "binary", {})


# --- the page ---------------------------------------------------------------------------------------------------------

#: What each heading of the page is about.
TABLES: dict[str, type[BaseModel | msgspec.Struct]] = {
    "[server]": type(Settings().server),
    "[auth]": type(Settings().auth),
    "[api]": type(Settings().api),
    "[[channels]]": ChannelSettings,
    "history": History,
    "[heartbeat]": Heartbeat,
    "[events]": type(Settings().events),
}


def written(value: Any) -> str:
    """Write a default as it would stand in the file."""
    if isinstance(value, list):
        return written(value[0]) if len(value) == 1 else f"[{', '.join(map(written, value))}]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "none" if value is None else f"{value:,}" if isinstance(value, int) and value > 9999 else json.dumps(value)


def defaults(table: type[BaseModel | msgspec.Struct]) -> Iterator[tuple[str, str]]:
    """Give each key of a table with its default."""
    if issubclass(table, msgspec.Struct):
        for field in msgspec.structs.fields(table):
            yield field.name, written(field.default)
    else:
        for name, info in table.model_fields.items():
            yield name, "must be given" if info.is_required() else written(info.default)


@pytest.mark.parametrize("heading", TABLES)
def test_the_page_has_every_key_with_its_default(heading: str) -> None:
    """In the order in which they are declared."""
    _, _, section = page("docs/serve.md").text.partition(f"\n### `{heading}`\n")
    section = re.split(r"^#", section, maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| `(\w+)` \| `?(.*?)`? \| .+\|$", section, flags=re.MULTILINE)

    assert rows == list(defaults(TABLES[heading]))


def test_every_table_has_its_heading() -> None:
    """Limits have a page of their own."""
    tables = {heading.strip("[]") for heading in TABLES} | {"limits"}

    assert set(Settings.model_fields) | {"history"} == tables
    assert "(limits.md#all-limits)" in page("docs/serve.md").text
