"""The settings of the standalone server: every key of ``openline.toml``, its default, and what it may be.

The keys are read and checked as a whole, from a file and from variables of the environment over it. What cannot be is
told as a `SettingsError`, each mistake with where it stands, which key it is and why; never with the value, which may
be a secret.

Invariants of this file:

1. A key that is not declared here does not exist: nothing is passed over, neither in the file nor in the environment.
2. What `openline.options` checks is not checked again here: its values are read as they are declared there.
"""

import copy
import difflib
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PrivateAttr,
    SecretStr,
    Strict,
    StrictBool,
    StrictInt,
    ValidationError,
    ValidatorFunctionWrapHandler,
    create_model,
)
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from openline.api.routes import BODY_BYTES, ErrorMode
from openline.errors import UsageError
from openline.options import Heartbeat, History, Limits, Recovery, Slow

#: A variable that sets a key: the sections and the key behind this, between double underscores.
PREFIX: Final = "OPENLINE_"

#: Events a back end is asked about a channel's subscribers.
ChannelEvent = Literal["subscribe", "publish", "sub_refresh", "unsubscribe"]

#: And about its clients.
EVENTS: Final = ("connect", "refresh", "rpc", "disconnect")

_Path = tuple[int | str, ...]


class SettingsError(UsageError):
    """The settings cannot be. Each of `problems` is one line: where it stands, which key, and why."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class _Values:
    """Reads a table into one of the frozen values of `openline.options`, which says what there is and may be."""

    def __init__(self, value: type[msgspec.Struct]) -> None:
        self._value = value

    def __get_pydantic_core_schema__(self, _source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        fields: dict[str, Any] = {
            one.name: (Annotated[one.type, Strict()], one.default) for one in msgspec.structs.fields(self._value)
        }
        table: type[BaseModel] = create_model(self._value.__name__, __config__=ConfigDict(extra="forbid"), **fields)
        return core_schema.no_info_wrap_validator_function(self._read, handler.generate_schema(table))

    def _read(self, given: object, table: ValidatorFunctionWrapHandler) -> msgspec.Struct:
        return given if isinstance(given, self._value) else self._value(**dict(table(given)))


def _one_or_more(given: object) -> object:
    return given if isinstance(given, list) else [given]


# A number in quotes is none, and 1 is not true.
_Number = Annotated[float, Strict()]
_Text = Annotated[str, Field(min_length=1)]
_Texts = Annotated[list[_Text], BeforeValidator(_one_or_more), Field(min_length=1)]
_Secret = Annotated[SecretStr, Field(min_length=1)]
_Secrets = Annotated[list[_Secret], BeforeValidator(_one_or_more)]
_Url = Annotated[str, Field(pattern=r"^https?://[^\s/]")]


class Table(BaseModel):
    """A table of the file. A key it does not declare is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(Table):
    """``[server]``: where it listens, and what it runs on."""

    host: _Texts = ["127.0.0.1"]  #: addresses or names to listen on; ``localhost`` is 127.0.0.1 and ::1
    port: StrictInt = Field(default=8000, ge=0, le=65_535)  #: 0 takes a free one
    broker: str = "memory://"  #: where publications travel
    allowed_origins: list[_Text] = []  #: pages that may open a line, beside those of the server's own host
    compression: StrictBool = False  #: ``permessage-deflate`` for WebSocket clients that offer it
    trusted_proxies: list[_Text] = ["127.0.0.1", "::1"]  #: whose ``X-Forwarded-…`` headers are believed
    log_level: Literal["critical", "error", "warning", "info", "debug"] = "info"
    access_log: StrictBool = False  #: a line for each HTTP request
    shutdown_seconds: StrictInt = Field(default=10, ge=1)  #: for what is under way when the server ends; then it is cut


class AuthSettings(Table):
    """``[auth]``: how clients say who they are."""

    hmac_secret: _Secret | None = None  #: verifies HS256, HS384 and HS512 tokens
    previous_hmac_secrets: _Secrets = []  #: still accepted, while tokens of them live
    public_keys: _Texts | None = None  #: in PEM: verify RS, ES and EdDSA tokens
    algorithms: _Texts | None = None  #: only these; else all that the keys are for
    audience: _Texts | None = None  #: one of them has to stand in ``aud``
    issuer: _Texts | None = None  #: ``iss`` has to be one of them
    user_claim: _Text = "sub"  #: the claim that holds the user's id
    leeway_seconds: _Number = 0  #: how far the issuer's clock may be off
    anonymous: StrictBool = False  #: clients without a token are let in, as nobody
    insecure: StrictBool = False  #: and no channel asks for a token: for development and tests

    @property
    def has_keys(self) -> bool:
        """Whether tokens can be verified."""
        return self.hmac_secret is not None or self.public_keys is not None


class ApiSettings(Table):
    """``[api]``: the server HTTP API, for back ends."""

    key: Annotated[_Secrets, Field(min_length=1)] | None = None  #: one or several; without one there is no API
    error_mode: ErrorMode = "body"  #: "transport" answers errors with an HTTP status of their own
    body_bytes: StrictInt = Field(default=BODY_BYTES, ge=1)  #: of a request, at most


class ChannelSettings(Table):
    """``[[channels]]``: the channels of one pattern."""

    pattern: _Text  #: such as ``room:{name}``
    binary: StrictBool = False  #: payloads are any bytes, not JSON
    presence: StrictBool = False  #: clients may ask who is here
    #: true: clients that ask are told who comes and goes; "forced": all are
    join_leave: Literal[False, True, "forced"] = False
    publish: StrictBool = False  #: clients may publish
    protected: StrictBool = False  #: clients need a subscription token
    personal: StrictBool = False  #: each user is subscribed to their own, and nobody else can be
    history: Annotated[History, _Values(History)] | None = None  #: what is kept for those who come back
    recovery: Recovery = "stream"  #: "stream", "cache", or "asked"
    delta: StrictBool = False  #: Fossil deltas for clients that ask for them
    filters: StrictBool = False  #: clients may filter by tags
    slow: Slow = "disconnect"  #: what becomes of a client that does not keep up
    events: list[ChannelEvent] | None = None  #: what the back end is asked; else all that have a URL


class EventsSettings(Table):
    """``[events]``: what a back end is asked over HTTP. An event without a URL is not asked."""

    connect: _Url | None = None
    refresh: _Url | None = None
    subscribe: _Url | None = None
    publish: _Url | None = None
    sub_refresh: _Url | None = None
    rpc: _Url | None = None
    disconnect: _Url | None = None
    unsubscribe: _Url | None = None
    secret: _Secret | None = None  #: signs each request
    timeout_seconds: _Number = Field(default=1.0, gt=0, le=60)  #: from an event to its answer, all tries together
    retries: StrictInt = Field(default=2, ge=0, le=10)  #: after the first try, where that is safe
    concurrency: StrictInt = Field(default=64, ge=1)  #: connections to the back end at once
    answer_bytes: StrictInt = Field(default=1_048_576, ge=1)  #: the largest answer
    headers: list[_Text] = []  #: of the client's opening request, handed on
    static_headers: dict[_Text, str] = {}  #: sent with every request

    @property
    def urls(self) -> dict[str, str]:
        """What is asked where, by event."""
        named = ((event, getattr(self, event)) for event in (*EVENTS, *get_args(ChannelEvent)))
        return {event: url for event, url in named if url is not None}


class Settings(Table):
    """The whole file."""

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    api: ApiSettings = ApiSettings()
    channels: list[ChannelSettings] = []
    limits: Annotated[Limits, _Values(Limits)] = Limits()
    heartbeat: Annotated[Heartbeat, _Values(Heartbeat)] = Heartbeat()
    events: EventsSettings = EventsSettings()

    _source: str = PrivateAttr("settings")

    @property
    def source(self) -> str:
        """Where they were read: the name of the file, or "environment"."""
        return self._source


def load(file: Path | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Args:
        file: in TOML; None takes all from the environment.
        environment: variables ``OPENLINE_SECTION__KEY`` go over what the file says. Values are written as in the file,
            text without quotes.
    Raises:
        SettingsError: the file cannot be read, or something in it or in the environment cannot be.
    """
    in_file = {} if file is None else _read(file)
    given = copy.deepcopy(in_file)
    variables = _overlay(given, environment)

    source = "environment" if file is None else str(file)

    def place(path: _Path) -> str:
        # The one that sets this key or a table above it; else one that made the table this is.
        for length in range(len(path), 0, -1):
            if (variable := variables.get(path[:length])) is not None:
                return f"environment: {variable}"
        below = [variable for other, variable in variables.items() if other[: len(path)] == path]
        return f"environment: {below[0]}" if below and not _has(in_file, path) else source

    try:
        settings = _validated(given, variables, environment)
    except ValidationError as error:
        raise SettingsError(*_told(error, given, place)) from None
    settings._source = source
    return settings


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{file}: is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file}: is not TOML: {error}") from None


def _overlay(given: dict[str, Any], environment: Mapping[str, str]) -> dict[_Path, str]:
    """Put the variables over what the file says; give which key is whose."""
    variables: dict[_Path, str] = {}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX):
            continue
        path = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        # One underscore is not ours: orchestrators make such names out of those of services.
        if len(path) < 2 and path != ("channels",):
            continue
        table = given
        for section in path[:-1]:
            below = table.setdefault(section, {})
            if not isinstance(below, dict):
                raise SettingsError(f"environment: {variable}: {section} is no table that has keys")
            table = below
        table[path[-1]] = _literal(environment[variable])
        variables[path] = variable
    return variables


def _literal(text: str) -> object:
    """Read a variable's value as one of the file; text is without quotes there."""
    try:
        value = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return value["value"] if len(value) == 1 and not isinstance(value["value"], str) else text


def _validated(given: dict[str, Any], variables: Mapping[_Path, str], environment: Mapping[str, str]) -> Settings:
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        no_text = {detail["loc"] for detail in error.errors() if detail["type"] == "string_type"}
    # What reads as a number or a list may be meant as text, such as a secret of digits alone.
    for path, variable in variables.items():
        table: dict[str, Any] = given
        for section in path[:-1]:
            table = table[str(section)]
        name = str(path[-1])
        one_of_several = (*path, 0) in no_text and not isinstance(table[name], list)
        if path in no_text or one_of_several:
            table[name] = environment[variable]
    return Settings.model_validate(given)


def _has(given: object, path: _Path) -> bool:
    for step in path:
        if not isinstance(given, dict) or step not in given:
            return False
        given = given[step]
    return True


# --- errors -----------------------------------------------------------------------------------------------------------


def _told(error: ValidationError, given: Mapping[str, Any], place: Callable[[_Path], str]) -> Iterator[str]:
    """Write each mistake on one line, without the value."""
    told: set[str] = set()
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        path = tuple(step for step in detail["loc"] if step != "[key]")
        line = f"{place(path)}: {named(path, given)}: {_reason(detail, path)}"
        if line not in told:
            told.add(line)
            yield line


def named(path: Sequence[int | str], given: Mapping[str, Any]) -> str:
    """Write a key as people find it: ``server.port``, ``channels "room:{name}" history.size``."""
    if len(path) > 1 and path[0] == "channels" and isinstance(path[1], int):
        channel = given["channels"][path[1]]
        pattern = channel.get("pattern") if isinstance(channel, dict) else None
        which = f'channels "{pattern}"' if isinstance(pattern, str) else f"channels, number {path[1] + 1}"
        return " ".join(filter(None, (which, ".".join(map(str, path[2:])))))
    return ".".join(map(str, path))


#: What is told of a mistake, by pydantic's word for it, where pydantic's own words are not of a file.
_REASONS: Final = {
    "bool_type": "it should be true or false",
    "dict_type": "it should be a table",
    "float_type": "it should be a number",
    "int_type": "it should be a whole number",
    "list_type": "it should be a list",
    "missing": "is missing",
    "model_type": "it should be a table",
    "string_type": "it should be text",
    "string_pattern_mismatch": "it should begin with http:// or https:// and a host",
    "string_too_short": "it should not be empty",
    "too_short": "it should not be empty",
}


def _reason(detail: ErrorDetails, path: _Path) -> str:
    if detail["type"] == "extra_forbidden":
        return _unknown(path)
    if detail["type"] in _REASONS:
        return _REASONS[detail["type"]]
    reason = detail["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    # Words of Python, which are written otherwise in the file.
    return reason.replace("False", "false").replace("True", "true") if detail["type"] == "literal_error" else reason


def _unknown(path: _Path) -> str:
    """Say what there is instead of a key that is not."""
    known = _known(path[:-1])
    near = difflib.get_close_matches(str(path[-1]), known, n=1)
    instead = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return f"there is no such key; {instead}"


def _known(path: _Path) -> list[str]:
    """Give the keys of a table."""
    table: Any = Settings
    for step in path:
        if isinstance(step, int):
            continue
        table = _table(table.model_fields[step].annotation)
    return list(table.__struct_fields__ if issubclass(table, msgspec.Struct) else table.model_fields)


def _table(annotation: Any) -> Any:
    """Find the table an annotation speaks of; None where it speaks of none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel | msgspec.Struct):
        return annotation
    for inner in get_args(annotation):
        if (found := _table(inner)) is not None:
            return found
    return None
