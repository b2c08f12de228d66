"""What can become of a command, as its sender knows it. None of these leaves `openline.valkey`.

Trouble
├── Unsent            it was not carried out, for sure
│   └── AccessDenied  nor will another attempt be: the server does not let us in
├── Unanswered        it was sent; whether it was carried out is not known
└── Refused           the server answered with an error
"""

from __future__ import annotations

from typing import final


class Trouble(Exception):  # what follows is named for what happened
    """A command was not answered as hoped; the words say where and why."""


class Unsent(Trouble):
    """It was not carried out, for sure."""


@final
class AccessDenied(Unsent):
    """The server does not let us in; trying again does not help."""


@final
class Unanswered(Trouble):
    """It was sent, and no answer came: it may have been carried out."""


@final
class Refused(Trouble):
    """The server answered with an error.

    Attributes:
        code: its first word, such as ``MOVED``.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0]
