"""Places for those who are on their way: kept from the decision on, and given back whatever becomes of it.

What clients see of it is in test_connection_limits.py.
"""

from __future__ import annotations

import pytest

from openline import codes
from openline.counters import Counters
from openline.errors import Disconnect
from openline.notices import Notices
from openline.options import Limits
from openline.places import Places
from openline.session import Session
from openline.testing import VirtualClock
from tests.engine import Engine, running


class Door:
    """The places of a node, and what they are counted by."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self.sessions: dict[str, Session] = {}
        self.users: dict[str, dict[str, Session]] = {}
        self.counters = Counters()
        self.places = Places(limits, Notices(self.counters, VirtualClock()), self.sessions, self.users)
        self._engine = engine

    def arrival(self, user: str) -> Session:
        """Give a session that is on its way to be a user's."""
        session = self._engine.client()[1]
        session.user = user
        self.sessions[session.id] = session
        return session

    def connect(self, session: Session) -> None:
        """Let a session be connected."""
        self.users.setdefault(session.user, {})[session.id] = session


async def test_a_handshake_keeps_its_place_until_it_is_a_session() -> None:
    """Saying so twice gives no second place back."""
    async with running() as engine:
        door = Door(engine, Limits(connections=2))
        first, second, third = object(), object(), object()
        assert door.places.expect(first)
        assert door.places.expect(second)
        assert not door.places.expect(third)
        door.places.expected(first)
        door.places.expected(first)
        assert door.places.expect(third)
        assert not door.places.expect(first)
        assert len(door.places) == 2


async def test_sessions_take_places_as_handshakes_do() -> None:
    """A handshake that became one is counted once."""
    async with running() as engine:
        door = Door(engine, Limits(connections=1))
        handshake = object()
        assert door.places.expect(handshake)
        door.arrival("ada")
        door.places.expected(handshake)
        assert not door.places.expect(object())
        door.sessions.clear()
        assert door.places.expect(object())


async def test_without_a_limit_everybody_has_a_place() -> None:
    """They are counted all the same: somebody has to give the places back."""
    async with running() as engine:
        door = Door(engine, Limits())
        handshakes = [object() for _ in range(100)]
        assert all(map(door.places.expect, handshakes))
        for handshake in handshakes:
            door.places.expected(handshake)
        assert not door.places


async def test_arriving_takes_a_place_among_the_users_connections() -> None:
    """One more is told 3504, and counted; when the block ends the place belongs to the session that is connected."""
    async with running() as engine:
        door = Door(engine, Limits(connections_per_user=2))
        first, second, third = (door.arrival("ada") for _ in range(3))
        with door.places.arriving(first), door.places.arriving(second):
            with pytest.raises(Disconnect) as caught, door.places.arriving(third):
                pass
            door.connect(first)
        assert caught.value.code == codes.CLOSED_CONNECTION_LIMIT
        assert door.counters.connections_refused == 1
        assert not door.places
        with door.places.arriving(third):
            assert len(door.places) == 1


async def test_whoever_fails_gives_the_place_back() -> None:
    """Whatever the reason."""
    async with running() as engine:
        door = Door(engine, Limits(connections_per_user=1))
        session = door.arrival("ada")
        for _ in range(2):
            with pytest.raises(ZeroDivisionError), door.places.arriving(session):
                raise ZeroDivisionError
        assert not door.places


async def test_whoever_is_gone_while_arriving_gives_the_place_back_at_once() -> None:
    """The end of the block gives nothing back a second time: the place may be another's by then."""
    async with running() as engine:
        door = Door(engine, Limits(connections_per_user=1))
        gone, next_one = door.arrival("ada"), door.arrival("ada")
        with door.places.arriving(gone):
            door.places.arrived(gone)
            with door.places.arriving(next_one):
                pass
            assert not door.places
        with door.places.arriving(next_one):
            door.places.arrived(gone)
            assert len(door.places) == 1


async def test_one_who_becomes_somebody_else_on_the_way_gives_back_the_place_it_took() -> None:
    """The app may set `session.user` at any time; nobody's place is lost over it."""
    async with running() as engine:
        door = Door(engine, Limits(connections_per_user=1))
        session = door.arrival("ada")
        with door.places.arriving(session):
            session.user = "bob"
        assert not door.places
        with door.places.arriving(door.arrival("ada")):
            assert len(door.places) == 1


async def test_a_session_that_has_ended_does_not_arrive() -> None:
    """It would keep a place that nobody gives back."""
    async with running() as engine:
        door = Door(engine, Limits(connections_per_user=1))
        session = door.arrival("ada")
        door.sessions.clear()
        with pytest.raises(Disconnect) as caught, door.places.arriving(session):
            pass
        assert caught.value.code == codes.CLOSED_NORMAL
        assert not door.places


async def test_nobody_is_on_the_way_when_a_node_begins_anew() -> None:
    """What a loop that was killed left behind takes no places."""
    async with running() as engine:
        door = Door(engine, Limits(connections=1, connections_per_user=1))
        assert door.places.expect(object())
        arriving = door.places.arriving(door.arrival("ada"))
        arriving.__enter__()
        door.places.clear()
        door.sessions.clear()
        assert not door.places
        assert door.places.expect(object())
        arriving.__exit__(None, None, None)
        assert len(door.places) == 1
