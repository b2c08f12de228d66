"""How channels and subjects are called by each other's names.

A channel ``sensors:7`` is the live subject ``sensors.7``, which an MQTT device knows as the topic ``sensors/7``: the
parts of the one are the tokens of the other. Letters, digits and most signs stand for themselves. What NATS or MQTT
gives a meaning to is written ``%`` and two hexadecimal digits for each byte of UTF-8; an empty part is a lone ``%``:

    .  *  >  %  /  +  #  $      everywhere, and all that is not printable ASCII, spaces among it
    _                           where it begins a name: subjects such as ``_INBOX`` belong to NATS
    the first letter            of a name whose first part is the prefix of the hub's own subjects

Invariants of this file:

1. Two channels never share a subject, and no channel is a subject of NATS or of the hub itself.
2. The token of a channel, in subjects that the hub keeps to itself, is the same with ``:`` in place of ``.``: JetStream
   makes the live subject of it by splitting there.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from openline.names import SEPARATOR

_UNSAFE: Final = re.compile(r"[^!-~]|[.*>%/+#$]")


def word(text: str) -> str:
    """Write any text as one token of a subject."""
    return _UNSAFE.sub(_escape, text) or "%"


@lru_cache(maxsize=16_384)
def token(channel: str, prefix: str) -> str:
    """Write a channel as one token of a subject."""
    head, separator, tail = _UNSAFE.sub(_escape, channel).partition(SEPARATOR)
    if head == prefix or head.startswith("_"):
        head = f"%{ord(head[0]):02X}{head[1:]}"
    parts = [head, *tail.split(SEPARATOR)] if separator else [head]
    return SEPARATOR.join(part or "%" for part in parts)


@lru_cache(maxsize=16_384)
def live(channel: str, prefix: str) -> str:
    """Write a channel as the subject its publications travel on."""
    return token(channel, prefix).replace(SEPARATOR, ".")


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogatepass"))
