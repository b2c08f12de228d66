"""One event put to the back end: the request that tells of it, and what is made of the answer.

Source: docs/events.md.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, final

import msgspec
from msgspec import Raw
from starlette.requests import HTTPConnection

from openline.backend import answers
from openline.backend.answers import Malformed
from openline.backend.caller import Caller, Unanswered
from openline.backend.headers import Header, Headers
from openline.backend.journal import Journal
from openline.backend.telling import Teller
from openline.errors import DeclarationError, InternalError
from openline.protocol.json import is_json
from openline.session import Session

Value = TypeVar("Value")

_DECODERS: Final = {
    "connect": answers.decoder(answers.Connected),
    "refresh": answers.decoder(answers.Refreshed),
    "subscribe": answers.decoder(answers.Admitted),
    "publish": answers.decoder(answers.Published),
    "sub_refresh": answers.decoder(answers.Refreshed),
    "rpc": answers.decoder(answers.Returned),
}

#: What may be carried out twice: it only says whether something may be.
_REPEATABLE: Final = frozenset(("connect", "refresh", "subscribe", "sub_refresh"))

#: Where a session keeps what of its connect command's headers is passed on.
_TOLD: Final = "openline.backend.headers"


@final
class Asking:
    """Puts events to a back end.

    Args:
        urls: of the events that are put to it.
    """

    def __init__(
        self, urls: Mapping[str, str], headers: Headers, journal: Journal, caller: Caller, teller: Teller
    ) -> None:
        self._urls = urls
        self._headers = headers
        self._journal = journal
        self._caller = caller
        self._teller = teller

    @property
    def reads_handshake(self) -> bool:
        """Whether headers of the opening request are passed on."""
        return self._headers.reads_handshake

    def concerns(self, event: str) -> bool:
        """Tell whether an event is put to the back end."""
        return event in self._urls

    def keep(self, session: Session, headers: Mapping[str, str]) -> None:
        """Keep what may be passed on of the headers in a connect command, for as long as the session lasts."""
        told = self._headers.told(headers)
        if told:
            session.state[_TOLD] = told

    async def ask(
        self,
        event: str,
        session: Session,
        fields: Mapping[str, Any],
        connection: HTTPConnection | None,
        understand: Callable[[Any], Value],
    ) -> Value:
        """Put an event to the back end.

        Args:
            fields: what the event says beside who it is.
            connection: the opening request; None where no header of it is passed on.
            understand: makes of the result, or of None, what the hub is told.
        Raises:
            Refusal, Disconnect: as the back end answered.
            InternalError: it did not answer, or not so that it could be understood; that is counted and logged.
        """
        url = self._urls[event]
        self._journal.counts[event].asked += 1
        try:
            answer = await self._caller.ask(
                event,
                url,
                self._body(session, fields, named=event != "connect"),
                self._passed(session, connection),
                repeatable=event in _REPEATABLE,
                # Whoever left this channel and comes back is told of in that order.
                after=self._teller.heard(session.id, fields["channel"]) if event == "subscribe" else None,
            )
            return understand(answers.read(_DECODERS[event], answer))
        except DeclarationError as error:
            reason: Exception = Malformed(f"it answered what cannot be: {error}")
        except (Unanswered, Malformed) as error:
            reason = error
        self._journal.failed(event, url, reason)
        raise InternalError from reason

    def tell(self, event: str, session: Session, fields: Mapping[str, Any], connection: HTTPConnection | None) -> None:
        """Have the back end told of an event. Never waits."""
        body = self._body(session, fields, named=True)
        passed = self._passed(session, connection)
        self._teller.tell(session.id, event, self._urls[event], body, passed, channel=fields.get("channel", ""))

    def _body(self, session: Session, fields: Mapping[str, Any], *, named: bool) -> bytes:
        said: dict[str, Any] = {
            "client": session.id,
            "transport": session.transport,
            "protocol": session.protocol,
            "encoding": "binary" if "b64data" in fields else "json",
        }
        if named or session.user:
            said["user"] = session.user
        if session.encoded_meta:
            said["meta"] = Raw(session.encoded_meta)
        return msgspec.json.encode(said | {name: value for name, value in fields.items() if value not in ("", [])})

    def _passed(self, session: Session, connection: HTTPConnection | None) -> list[Header]:
        handshake = () if connection is None else connection.headers.raw
        return self._headers.of(handshake, session.state.get(_TOLD, ()))


def embedded(data: bytes) -> dict[str, Any]:
    """Give the field that holds a client's payload: JSON as it is, anything else in base64."""
    if not data:
        return {}
    return {"data": Raw(data)} if is_json(data) else {"b64data": base64.b64encode(data).decode()}
