"""Who may use the API: the holders of a key, which comes in one of three places of a request."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Annotated, Final, final

from fastapi import HTTPException, Request, Security
from fastapi.security import APIKeyHeader, APIKeyQuery

from openline.errors import DeclarationError
from openline.names import is_name
from openline.notices import Notices

_HEADER: Final = APIKeyHeader(name="X-API-Key", scheme_name="ApiKeyHeader", auto_error=False)
_AUTHORIZATION: Final = APIKeyHeader(
    name="Authorization",
    scheme_name="ApiKeyAuthorization",
    description="`apikey` and the key, as in `Authorization: apikey KEY`",
    auto_error=False,
)
_QUERY: Final = APIKeyQuery(
    name="api_key", scheme_name="ApiKeyQuery", description="URLs end up in logs", auto_error=False
)


@final
class Keys:
    """The keys of one API; a FastAPI dependency that lets their holders in.

    Args:
        keys: one, or several while one replaces another. Each is as good as the others.
        notices: what counts who was not let in, and says so.
    Raises:
        DeclarationError: there is none, or one cannot be sent in a header.
    """

    __slots__ = ("_keys", "_notices")

    def __init__(self, keys: str | Sequence[str], notices: Notices) -> None:
        listed = (keys,) if isinstance(keys, str) else tuple(keys)
        if not listed:
            raise DeclarationError("the server API needs a key")
        for number, key in enumerate(listed, 1):
            if not is_name(str(key)):
                # Which key it is, and not what: this ends up in a log.
                raise DeclarationError(f"key {number} of the server API: it is printable ASCII without spaces")
        self._notices = notices
        self._keys = tuple(key.encode() for key in listed)

    # Async, or each request would need one of the threads that the app's own functions run in.
    async def __call__(
        self,
        request: Request,
        header: Annotated[str | None, Security(_HEADER)] = None,
        authorization: Annotated[str | None, Security(_AUTHORIZATION)] = None,
        query: Annotated[str | None, Security(_QUERY)] = None,
    ) -> None:
        """Let a request in.

        Raises:
            HTTPException: it has no key of these (401).
        """
        scheme, _, key = (authorization or "").partition(" ")
        sent = [header, key.strip() if scheme.lower() == "apikey" else None, query]
        if not sum(self._fits(one) for one in sent if one):
            sender = request.client.host if request.client else "somewhere"
            words = "a request of the server API from %s has no key that is known: refused with 401"
            self._notices.take("api_keys_refused", words, sender)
            raise HTTPException(401, "a key of the server API is missing, or is none")

    def _fits(self, sent: str) -> bool:
        """Compare with every key, in a time that says nothing of how much of one was right."""
        return sum(hmac.compare_digest(sent.encode(errors="replace"), key) for key in self._keys) > 0
