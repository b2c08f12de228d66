"""What the URLs of all engines on a network have in common: endpoints, options, and errors that never show a secret."""

from __future__ import annotations

import math
import re
from typing import NamedTuple, final
from urllib.parse import parse_qsl

from openline.errors import DeclarationError


class Endpoint(NamedTuple):
    """One server."""

    host: str  #: name or number; the path of the socket where `port` is 0
    port: int

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def wrong(engine: str, problem: str) -> DeclarationError:
    """Make the error of a URL that cannot be.

    Args:
        engine: whose it is.
        problem: in words that hold nothing of what may be a secret.
    """
    return DeclarationError(f"the URL of the {engine} server cannot be: {problem}")


@final
class Options:
    """What follows the ``?`` of an engine's URL.

    Args:
        engine: whose it is, for errors.
        query: as it stands in the URL.
        known: the options there are.
    Raises:
        DeclarationError: one is not known, or is there twice. So does every method where a value cannot be.
    """

    __slots__ = ("_engine", "_given")

    def __init__(self, engine: str, query: str, known: frozenset[str]) -> None:
        self._engine = engine
        self._given: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name not in known:
                # Not shown: what stands here by mistake may be a part of a password.
                raise wrong(engine, f"it has an option that is not known; known are {', '.join(sorted(known))}")
            if name in self._given:
                raise wrong(engine, f"{name} is there twice")
            self._given[name] = value

    def text(self, name: str, otherwise: str = "") -> str:
        """Give an option as it was written."""
        return self._given.get(name, otherwise)

    def seconds(self, name: str, otherwise: float) -> float:
        """Read a time."""
        value = self._given.get(name)
        if value is None:
            return otherwise
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0.01 <= seconds <= 3600:
            raise wrong(self._engine, f"{name} is {value!r}, which is not a number of seconds from 0.01 to 3600")
        return seconds

    def name(self, name: str, otherwise: str, pattern: re.Pattern[str], words: str) -> str:
        """Read what things are named after.

        Args:
            words: what the pattern allows, for people.
        """
        value = self._given.get(name, otherwise)
        if pattern.fullmatch(value) is None:
            raise wrong(self._engine, f"{name} is {value!r}: it is made of {words}")
        return value

    def files(self, scheme: str, *, tls: bool) -> dict[str, str]:
        """Read the files of TLS: ``ca``, ``cert`` and ``key``, each "" for none.

        Args:
            scheme: how a URL with TLS begins.
            tls: whether this one does.
        """
        files = {name: self._given.get(name, "") for name in ("ca", "cert", "key")}
        if any(files.values()) and not tls:
            raise wrong(self._engine, f"ca, cert and key are for TLS: {scheme}")
        if files["key"] and not files["cert"]:
            raise wrong(self._engine, "key is there, but no cert")
        return files
