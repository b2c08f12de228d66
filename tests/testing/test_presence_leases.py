"""Checks of leases: presences that tell wrongly of nodes that died, came back or were forgotten are caught."""

from __future__ import annotations

import pytest

from openline.publication import Arrival, ClientInfo
from tests.presence.plain import Key, PlainPresence, PlainTable, Row
from tests.testing.test_presence import problems_of


class _EveryoneMourns(PlainPresence):
    """Tells of each death on every node that lives."""

    def mourn(self, key: Key, row: Row) -> None:
        super().mourn(key, row)
        if row.announced:
            for node in self.table.nodes:
                if node.running and node is not self and node.name != row.node:
                    node.announce(key[0], Arrival(row.info, joined=False))


class _NobodyMourns(PlainPresence):
    def mourn(self, key: Key, row: Row) -> None:
        pass


class _MournsStrangers(PlainPresence):
    """Tells of the going of those whose coming was not told."""

    def mourn(self, key: Key, row: Row) -> None:
        super().mourn(key, Row(row.node, row.info, announced=True))


class _MournsWhoLeft(PlainPresence):
    """Keeps a list of the announced, from which nobody is taken."""

    listed: dict[Key, Row]

    def __init__(self, table: PlainTable) -> None:
        super().__init__(table)
        self.listed = {}

    async def add(self, channel: str, info: ClientInfo, *, announced: bool = False) -> None:
        await super().add(channel, info, announced=announced)
        if announced:
            self.listed[channel, info.client] = Row(self.name, info, announced)

    def drop_rows_of(self, node: str) -> dict[Key, Row]:
        rows = super().drop_rows_of(node)
        for one in self.table.nodes:
            if isinstance(one, _MournsWhoLeft) and one.name == node:
                rows.update(one.listed)
        return rows


class _MournsByNameOnly(PlainPresence):
    def mourn(self, key: Key, row: Row) -> None:
        super().mourn(key, Row(row.node, ClientInfo(row.info.user, row.info.client), row.announced))


class _MournsInOneChannel(PlainPresence):
    """Tells of each session once, wherever it was."""

    def bury(self) -> None:
        self.told: set[str] = set()
        super().bury()

    def mourn(self, key: Key, row: Row) -> None:
        if key[1] not in self.told:
            self.told.add(key[1])
            super().mourn(key, row)


class _MournsAgain(PlainPresence):
    """Tells again of the dead some time later."""

    def __init__(self, table: PlainTable) -> None:
        super().__init__(table)
        self.later: list[tuple[float, Key, Row]] = []

    def mourn(self, key: Key, row: Row) -> None:
        super().mourn(key, row)
        self.later.append((self.table.now() + 3, key, row))

    def turn(self) -> None:
        super().turn()
        due = [entry for entry in self.later if entry[0] <= self.table.now()]
        self.later = [entry for entry in self.later if entry not in due]
        for _, key, row in due:
            super().mourn(key, row)


class _TakesALeaveForAJoin(PlainPresence):
    def mourn(self, key: Key, row: Row) -> None:
        if row.announced:
            self.announce(key[0], Arrival(row.info, joined=True))


class _StaysAway(PlainPresence):
    """Enters nobody again."""

    def enter_again(self) -> None:
        pass


class _ComesBackInSilence(PlainPresence):
    def enter_again(self) -> None:
        self.table.rows.update(self.own)


class _ComesBackWithFanfare(PlainPresence):
    """Tells of everybody it enters again, whether or not others were told that they had left."""

    def enter_again(self) -> None:
        for key, row in self.own.items():
            if key not in self.table.rows:
                self.table.rows[key] = row
                self.announce(key[0], Arrival(row.info, joined=True))


class _ComesBackWithWhoLeft(PlainPresence):
    """Enters again who was removed while it was cut off."""

    async def remove(self, channel: str, client: str) -> None:
        await self.reach()
        await super().remove(channel, client)


class _BelievesTheOthersDied(PlainPresence):
    """Takes its own absence for that of the others."""

    def bury(self) -> None:
        super().bury()
        for node in self.table.nodes:
            if node.running and node is not self and self.was_cut:
                for (channel, _), row in node.own.items():
                    self.announce(channel, Arrival(row.info, joined=False))
        self.was_cut = False

    was_cut = False

    def turn(self) -> None:
        self.was_cut = self.was_cut or self.cut
        super().turn()


class _MournsTheForgotten(PlainPresence):
    """Takes an empty table for the death of everybody who was in it."""

    def enter_again(self) -> None:
        for key, row in self.own.items():
            if key not in self.table.rows and row.announced and key not in self.table.mourned:
                self.mourn(key, row)
        super().enter_again()


@pytest.mark.parametrize(
    "broken",
    [
        _EveryoneMourns,
        _NobodyMourns,
        _MournsStrangers,
        _MournsWhoLeft,
        _MournsByNameOnly,
        _MournsInOneChannel,
        _MournsAgain,
        _TakesALeaveForAJoin,
        _StaysAway,
        _ComesBackInSilence,
        _ComesBackWithFanfare,
        _ComesBackWithWhoLeft,
        _BelievesTheOthersDied,
        _MournsTheForgotten,
    ],
)
async def test_wrong_announcements_are_caught(broken: type[PlainPresence]) -> None:
    """The leaves of the dead are told once, the return of the living too, and nothing else is."""
    assert await problems_of("5 announced", broken)
