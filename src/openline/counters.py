"""What a node counts. Plain integers that only grow: whoever exports them takes differences."""

from __future__ import annotations

from typing import final


@final
class Counters:
    """One node's counts since it was made."""

    __slots__ = (
        "commands",
        "disconnects",
        "gaps_healed",
        "gaps_lost",
        "handler_errors",
        "publications",
        "recoveries",
        "recoveries_failed",
        "refusals",
        "sessions_opened",
        "slow_clients",
    )

    def __init__(self) -> None:
        self.commands = 0  #: requests of clients taken up
        self.disconnects = 0  #: sessions ended by the server
        self.gaps_healed = 0  #: topics that missed something and got it from history
        self.gaps_lost = 0  #: topics whose history no longer held what was missed
        self.handler_errors = 0  #: handlers of the app that raised what is no answer
        self.publications = 0  #: publications that reached a topic
        self.recoveries = 0  #: subscribers that came back and got all they missed
        self.recoveries_failed = 0  #: subscribers that came back and were told they lost something
        self.refusals = 0  #: commands answered with an error
        self.sessions_opened = 0  #: connections taken over from a wire
        self.slow_clients = 0  #: sessions closed because their outbox was full

    def as_dict(self) -> dict[str, int]:
        """Give every count by its name."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __repr__(self) -> str:
        return f"Counters({self.as_dict()})"
