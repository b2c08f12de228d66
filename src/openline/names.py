"""Channel names and the patterns that match them.

A name is printable ASCII without spaces, 1 to 255 characters. ``:`` separates its parts as ``/`` those of a path.
A pattern is a name in which ``{part}`` matches one part (or a piece of one) and ``{rest:path}`` all that is left.

Invariants of this file:

1. What a handler is given for a channel is what the channel was built from: where two sets of parts would make the same
   name, the pattern or the parts are refused. Who may enter is decided on the parts.
2. Matching takes time in proportion to the name: clients choose names, and shall not choose how long a match takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from openline.errors import DeclarationError

SEPARATOR: Final = ":"
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::([a-z]+))?\}")
_NAME: Final = re.compile(r"[!-~]+")
_KINDS: Final = {None: "[^:]+", "path": ".+"}


def is_name(name: str) -> bool:
    """Tell whether a string can be a channel's name, its length aside."""
    return _NAME.fullmatch(name) is not None


class Pattern:
    """A compiled channel pattern.

    Args:
        text: such as ``room:{name}`` or ``files:{path:path}``.
    Raises:
        DeclarationError: the text is no pattern; the message says where.
    """

    __slots__ = ("_pieces", "_regex", "_steps", "fixed", "parts", "shape", "text")

    def __init__(self, text: str) -> None:
        literal = _PLACEHOLDER.sub("x", text)
        if not is_name(literal):
            raise DeclarationError(f"channel pattern {text!r}: a channel is printable ASCII without spaces")
        if "{" in literal or "}" in literal:
            raise DeclarationError(f"channel pattern {text!r}: a placeholder is written {{name}} or {{name:path}}")
        self.text = text
        self.parts: tuple[str, ...] = tuple(match[1] for match in _PLACEHOLDER.finditer(text))
        if len(set(self.parts)) != len(self.parts):
            raise DeclarationError(f"channel pattern {text!r} names a part twice")
        #: True when the pattern has no placeholder: it is one channel.
        self.fixed = not self.parts
        #: The text without the placeholders' names: two patterns of one shape match the same names.
        self.shape = _PLACEHOLDER.sub(lambda found: f"{{:{found[2]}}}" if found[2] else "{}", text)
        self._pieces = self._split(text)
        self._regex = re.compile(
            "".join(f"({piece[1]})" if piece[1] else re.escape(piece[0]) for piece in self._pieces)
        )
        #: The pieces, with what says whether a value fits.
        self._steps = [(text, re.compile(kind).fullmatch if kind else None) for text, kind in self._pieces]

    @staticmethod
    def _split(text: str) -> list[tuple[str, str]]:
        """Cut into (literal, "") and (part, regex) pieces."""
        pieces: list[tuple[str, str]] = []
        placeholders = list(_PLACEHOLDER.finditer(text))
        if not placeholders:
            return [(text, "")]
        starts = [placeholder.start() for placeholder in placeholders[1:]] + [len(text)]
        if placeholders[0].start():
            pieces.append((text[: placeholders[0].start()], ""))
        for placeholder, start in zip(placeholders, starts, strict=True):
            name, kind = placeholder.groups()
            literal = text[placeholder.end() : start]
            last = placeholder is placeholders[-1]
            if kind not in _KINDS:
                raise DeclarationError(f"channel pattern {text!r}: unknown kind {kind!r}, only 'path' exists")
            if not last and (not literal or kind == "path"):
                why = "nothing stands between it and the next" if not literal else "a path takes all that is left"
                raise DeclarationError(f"channel pattern {text!r}: where {{{name}}} ends is not clear: {why}")
            # Up to the first occurrence of what follows: nothing is tried twice, and there is one way to match.
            within = not last and not literal.startswith(SEPARATOR)
            pieces.append((name, f"(?:(?!{re.escape(literal)})[^:])+" if within else _KINDS[kind]))
            if literal:
                pieces.append((literal, ""))
        return pieces

    def match(self, name: str) -> dict[str, str] | None:
        """Give the parts of a channel's name, or None when it is not of this pattern."""
        found = self._regex.fullmatch(name)
        return None if found is None else dict(zip(self.parts, found.groups(), strict=True))

    def build(self, parts: Mapping[str, object]) -> str:
        """Make the channel's name from its parts.

        Raises:
            DeclarationError: a part is missing, unknown or does not fit; the message names it.
        """
        unknown = parts.keys() - self.parts
        if unknown:
            raise DeclarationError(f"channel {self.text!r} has no part {', '.join(sorted(map(repr, unknown)))}")
        name = ""
        for literal, fits in self._steps:
            if fits is None:
                name += literal
                continue
            if literal not in parts:
                raise DeclarationError(f"channel {self.text!r} needs its part {literal!r}")
            value = str(parts[literal])
            if not is_name(value) or fits(value) is None:
                raise DeclarationError(f"channel {self.text!r}: {value!r} cannot be its part {literal!r}")
            name += value
        if len(self.parts) > 1 and self.match(name) != {part: str(parts[part]) for part in self.parts}:
            raise DeclarationError(f"channel {self.text!r}: {name!r} would not be read back as the parts it is made of")
        return name

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"
