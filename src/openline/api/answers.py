"""What an exception is to the back end that asked: a code and words.

Invariant: a refusal is told in its own words, as it says what to change. A fault of the server is in its log, and told
as such, without what is in the log.
"""

from __future__ import annotations

import logging
from typing import Final

from openline import codes
from openline.api.messages import Error
from openline.counters import Counters
from openline.errors import BrokerUnavailable, Disconnect
from openline.notices import Notices
from openline.refusals import refusal

_log: Final = logging.getLogger("openline")

#: HTTP statuses of errors, where errors are told by those; of the app's own codes it is 400.
STATUSES: Final = {100: 500, 102: 404, 104: 404, 107: 400, 108: 400, 112: 416, 113: 409}
OTHER_STATUS: Final = 400

INTERNAL: Final = Error(codes.INTERNAL_ERROR.number, codes.INTERNAL_ERROR.message)


def answer(method: str, error: Exception, counters: Counters, notices: Notices) -> Error:
    """Say why a method was not carried out, and note what is the server's fault.

    Args:
        notices: counts that the broker is away.
    """
    counters.api_errors += 1
    if isinstance(error, BrokerUnavailable):
        counters.api_failures += 1
        notices.take("commands_unserved", "%s of the server API: the broker is away: %s", method, error)
        return INTERNAL
    refused = refusal(error)
    if refused is None or isinstance(refused, Disconnect):
        counters.api_failures += 1
        _log.error("%s of the server API failed", method, exc_info=error)
        return INTERNAL
    return Error(refused.code.number, refused.code.message)
