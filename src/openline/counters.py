"""What a node counts. Plain integers that only grow: whoever exports them takes differences."""

from __future__ import annotations

from typing import final


@final
class Counters:
    """One node's counts since it was made."""

    __slots__ = (
        "api_errors",
        "api_failures",
        "api_keys_refused",
        "api_requests",
        "api_requests_refused",
        "commands",
        "commands_too_fast",
        "commands_unserved",
        "connections_refused",
        "disconnects",
        "floods",
        "frames_refused",
        "gaps_healed",
        "gaps_lost",
        "handler_errors",
        "handshakes_refused",
        "histories_failed",
        "messages_malformed",
        "messages_too_deep",
        "messages_too_large",
        "origins_refused",
        "positions_compared",
        "publications",
        "publications_dropped",
        "publications_failed",
        "publications_malformed",
        "readings_paused",
        "recoveries",
        "recoveries_failed",
        "refusals",
        "sessions_opened",
        "slow_clients",
        "stale_clients",
        "subscriptions_refused",
        "words_unanswered",
        "words_unreadable",
    )

    def __init__(self) -> None:
        self.api_errors = 0  #: commands of the server API answered with an error
        self.api_failures = 0  #: those of them that were the server's fault, or its broker's: error 100
        self.api_keys_refused = 0  #: requests of the server API without a key that is known: 401
        self.api_requests = 0  #: commands of the server API, each of a batch for itself
        self.api_requests_refused = 0  #: requests of the server API whose body is no JSON (400) or too large (413)
        self.commands = 0  #: requests of clients taken up
        self.commands_too_fast = 0  #: commands refused because their client asked too fast
        self.commands_unserved = 0  #: refused for now, or not announced, because the broker was away
        self.connections_refused = 0  #: handshakes and connects refused because there were enough already
        self.disconnects = 0  #: sessions ended by the server
        self.floods = 0  #: sessions closed because they went on asking too fast
        self.frames_refused = 0  #: posted beside a stream and not taken: too much waited, or the broker was away
        self.gaps_healed = 0  #: topics that missed something and got it from history
        self.gaps_lost = 0  #: topics whose history no longer held what was missed
        self.handler_errors = 0  #: handlers of the app that raised what is no answer
        self.handshakes_refused = 0  #: handshakes refused because the hub does not run, or lacks what they ask for
        self.histories_failed = 0  #: times history could not be read to see what a topic misses
        self.messages_malformed = 0  #: messages that could not be read as commands; each ends its session
        self.messages_too_deep = 0  #: commands and frames refused because of how deep their JSON nests
        self.messages_too_large = 0  #: connections closed because their client sent too large a message
        self.origins_refused = 0  #: handshakes refused because of the page they came from
        self.positions_compared = 0  #: times a topic was compared with its stream, in case it missed something
        self.publications = 0  #: publications that reached a topic
        self.publications_dropped = 0  #: not sent to a client that was behind, as their channel declared
        self.publications_failed = 0  #: publications the broker did not take, or may not have taken, in time
        self.publications_malformed = 0  #: that came from outside, over MQTT perhaps, and were left out: no JSON
        self.readings_paused = 0  #: times a client was let send no more until its commands were carried out
        self.recoveries = 0  #: subscribers that came back and got all they missed
        self.recoveries_failed = 0  #: subscribers that came back and were told they lost something
        self.refusals = 0  #: commands answered with an error
        self.sessions_opened = 0  #: connections taken over from a wire
        self.slow_clients = 0  #: sessions closed because their outbox was full
        self.stale_clients = 0  #: sessions closed because no connect came in time
        self.subscriptions_refused = 0  #: subscriptions refused because their session had enough
        self.words_unanswered = 0  #: orders that a node did not answer in time
        self.words_unreadable = 0  #: words of other nodes that could not be read: another version's perhaps

    def as_dict(self) -> dict[str, int]:
        """Give every count by its name."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __repr__(self) -> str:
        return f"Counters({self.as_dict()})"
