"""A command as it goes over the line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import hiredis

#: What a word of a command may be.
Word = bytes | str | int | float

#: Write a command, given as a tuple of words. (The library's own types know of one word only.)
pack: Final = cast("Callable[[tuple[Word, ...]], bytes]", hiredis.pack_command)
