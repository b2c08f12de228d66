"""The server's log without what lets anybody in: tokens that clients put into URLs.

An `EventSource` can send no header, so the SDK's sse transport writes its connect command into the URL, with the token;
whoever polls or only listens may name it there as ``token=``. A server logs URLs.

Invariants of this file:

1. What is kept from the log is the value of each such parameter of a query, however its name is encoded. The rest of a
   line stays as it is.
2. A line is never lost for it.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Mapping
from typing import Any, Final, final
from urllib.parse import unquote_plus

#: Parameters of queries whose values nobody is to read.
_SECRET: Final = frozenset(("token", "cf_connect", "api_key"))
_PARAMETER: Final = re.compile(r"([?&])([^\s=&]+)=([^\s&]+)")
_MASK: Final = "***"
#: The loggers of uvicorn that write URLs: of requests, and of WebSockets.
LOGGERS: Final = ("uvicorn.access", "uvicorn.error")


@final
class WithoutTokens(logging.Filter):
    """Masks the tokens in the URLs of a log. It lets every line through.

    `openline run` and `openline serve` have it in place. On any other server it is for the loggers that write URLs::

        for name in ("uvicorn.access", "uvicorn.error"):
            logging.getLogger(name).addFilter(WithoutTokens())
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask what is in a line."""
        if isinstance(record.args, tuple) and record.args:
            record.args = tuple(masked(value) if isinstance(value, str) else value for value in record.args)
        return True


def masked(text: str) -> str:
    """Give a text with the tokens of the queries in it masked."""
    return _PARAMETER.sub(_mask, text) if "?" in text else text


def without_tokens(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give a configuration for `logging.config.dictConfig` that is uvicorn's, and masks tokens.

    It is plain data, which uvicorn gives to each process that it starts, and each sets up its own logging by it.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(config))
    changed.setdefault("filters", {})["without_tokens"] = {"()": f"{__name__}.{WithoutTokens.__name__}"}
    for name in LOGGERS:
        logger = changed["loggers"].setdefault(name, {})
        logger["filters"] = [*logger.get("filters", ()), "without_tokens"]
    return changed


def _mask(found: re.Match[str]) -> str:
    if unquote_plus(found[2]) not in _SECRET:
        return found[0]
    return f"{found[1]}{found[2]}={_MASK}"
