"""What is recorded during a run: what was written, and what each subscriber saw and was told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Name(NamedTuple):
    """What a message carries: who wrote it, and the how-manieth of theirs in its channel it is."""

    publisher: int
    number: int


class Place(NamedTuple):
    """Where a message or a subscriber stands in a channel."""

    epoch: str
    offset: int


@dataclass(slots=True)
class Written:
    """A message that a publisher wrote; it wrote its next only after this one was acknowledged or given up."""

    channel: str
    name: Name
    sent_at: float  #: seconds on the clock of the run
    acknowledged_at: float = 0.0  #: 0 while it is not
    place: Place | None = None  #: as it was acknowledged; None for one that was given up: it may be out or not
    attempts: int = 0  #: how often it was sent, always under one idempotency key


class Entered(NamedTuple):
    """A subscription began, or began again."""

    at: float
    place: Place  #: where it goes on
    was_recovering: bool
    recovered: bool

    @property
    def told(self) -> bool:
        """Whether the subscriber was told that it may have missed something."""
        return self.was_recovering and not self.recovered


class Saw(NamedTuple):
    """A publication arrived."""

    at: float
    name: Name
    offset: int


class Left(NamedTuple):
    """A subscription ended for the time being, or for good."""

    at: float
    code: int


#: What happened to one subscriber in one channel.
Event = Entered | Saw | Left


class Moved(NamedTuple):
    """A join or leave that a subscriber heard of."""

    at: float
    client: str
    joined: bool  #: False: left


@dataclass(slots=True)
class Record:
    """One subscriber in one channel, all that happened in its order."""

    subscriber: str
    channel: str
    events: list[Event] = field(default_factory=list)
    moves: list[Moved] = field(default_factory=list)
