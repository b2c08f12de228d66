"""Which rooms there are: in memory, as the chat itself is."""

from __future__ import annotations

import re
from typing import Final

#: Names that are a part of a channel's name and of a link, and read well in both.
NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")

#: The rooms that are open from the start, in the order of the list.
FIRST: Final = ("lobby", "kitchen", "workshop")


class Rooms:
    """The open rooms, oldest first. A room is opened by the first who enters it and stays open.

    Args:
        limit: rooms at most; a demo left alone on the internet stays small.
    """

    def __init__(self, limit: int = 200) -> None:
        self._names = dict.fromkeys(FIRST)
        self._limit = limit

    def names(self) -> list[str]:
        """Every open room, oldest first."""
        return list(self._names)

    def open(self, name: str) -> bool:
        """Open a room unless it is open already.

        Returns:
            Whether the room is new.

        Raises:
            ValueError: the name does not fit, or there are enough rooms; the message is fit for the visitor.
        """
        if name in self._names:
            return False
        if not NAME.fullmatch(name):
            raise ValueError("a room's name is 1 to 32 small letters, digits and inner hyphens")
        if len(self._names) >= self._limit:
            raise ValueError(f"there are {self._limit} rooms already: enter one of them")
        self._names[name] = None
        return True
