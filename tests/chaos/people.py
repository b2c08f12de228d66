"""Who is where, by what the nodes say and by what subscribers heard. Pure: from what was recorded, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple

from tests.chaos.record import Moved

#: By channel, the ids of the clients that are in it.
Members = Mapping[str, Set[str]]


class Strangers(NamedTuple):
    """How presence differs from who is connected."""

    ghosts: int  #: shown and not there; one on three nodes counts three times
    missing: int  #: there and not shown
    words: list[str]

    @property
    def none(self) -> bool:
        """Whether presence is right."""
        return not self.ghosts and not self.missing


def compare(connected: Members, shown: Mapping[str, Members]) -> Strangers:
    """Compare who is connected with what each node shows.

    Args:
        shown: by node.
    """
    ghosts = missing = 0
    words: list[str] = []
    for node, members in shown.items():
        for channel in sorted(connected.keys() | members.keys()):
            there, seen = connected.get(channel, frozenset()), members.get(channel, frozenset())
            more, less = seen - there, there - seen
            ghosts += len(more)
            missing += len(less)
            if more or less:
                words.append(f"{node}, {channel}: {len(more)} are shown and not there, {len(less)} not shown")
    return Strangers(ghosts, missing, words)


class Heard(NamedTuple):
    """What is odd in the joins and leaves that one subscriber heard."""

    repeated: int  #: joins of somebody who was there, leaves of somebody who had left
    ghosts: int  #: joined, never left, and not there
    vanished: int  #: left, and still there


def listen(moves: Iterable[Moved], present: Set[str], own: Set[str] = frozenset()) -> Heard:
    """Follow the joins and leaves of one channel, as one subscriber heard them while it was in it all the time.

    Args:
        present: who is in the channel in the end.
        own: the listener's own ids, of which it may hear or not.
    """
    last: dict[str, bool] = {}
    repeated = 0
    for move in moves:
        if move.client in own:
            continue
        repeated += last.get(move.client) is move.joined
        last[move.client] = move.joined
    ghosts = sum(joined and client not in present for client, joined in last.items())
    vanished = sum(not joined and client in present for client, joined in last.items())
    return Heard(repeated, ghosts, vanished)
