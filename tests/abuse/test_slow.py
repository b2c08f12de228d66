"""Clients that stop reading, on both wires: what becomes of them, and that nobody else notices."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from openline import History, Hub, Limits
from openline.options import Slow
from tests.abuse.guest import NARROW_BYTES, Guest
from tests.abuse.house import PLENTY_KIB, WIRES, House, serving

FROZEN = 5
READERS = 3


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> str:
    """Name a wire."""
    name: str = request.param
    return name


def hub_with_channels() -> Hub:
    """Give a hub with a channel of each kind."""
    hub = Hub(limits=Limits(outbox_bytes=262_144))
    hub.channel("news:{name}", history=History(size=300))
    hub.channel("drop_oldest:{name}", slow="drop_oldest")
    hub.channel("latest_only:{name}", slow="latest_only")
    return hub


@pytest.fixture
def house(wire: str) -> Iterator[House]:
    """Serve it."""
    with serving(hub_with_channels(), wire=wire) as house:
        yield house


def guests(stack: ExitStack, house: House, channel: str, count: int, *, frozen: bool) -> list[Guest]:
    """Put guests into a channel."""
    receive_bytes = NARROW_BYTES if frozen else None
    found = [stack.enter_context(Guest(house.port, receive_bytes=receive_bytes)) for _ in range(count)]
    for guest in found:
        guest.subscribe(channel)
    return found


def freeze(house: House, channel: str, count: int, readers: list[Guest]) -> int:
    """Publish until so many clients are behind, while the others read; give how many publications that took."""
    published = 0
    while house.behind() < count:
        house.publish(channel, f"{published}:{'x' * 32_768}")
        for reader in readers:
            assert reader.publication().startswith(f"{published}:")
        published += 1
        assert published < PLENTY_KIB // 32
    return published


def test_frozen_clients_are_closed_with_3008_and_nobody_else(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """Past `Limits.outbox_bytes`; each is counted, with one line in the log, and told why if it reads in the end."""
    with ExitStack() as stack:
        readers = guests(stack, house, "news:a", READERS, frozen=False)
        frozen = guests(stack, house, "news:a", FROZEN, frozen=True)
        published = freeze(house, "news:a", FROZEN, readers)
        assert house.hub.counters.slow_clients == 0
        while house.hub.counters.slow_clients < FROZEN:
            house.publish("news:a", f"{published}:{'x' * 32_768}")
            for reader in readers:
                assert reader.publication().startswith(f"{published}:")
            published += 1
            assert published < PLENTY_KIB // 32

        gone = {guest.id for guest in frozen}
        assert house.call(lambda: set(house.hub.sessions)) == {reader.id for reader in readers}
        assert house.hub.counters.slow_clients == FROZEN
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        slow = [line for line in told if "too slow" in line]
        assert len(slow) == FROZEN
        assert all(any(identity in line for line in slow) for identity in gone)
        frozen[0].thaw()
        assert frozen[0].ended() == (3008, "slow")


def freeze_out(house: House, channels: list[str]) -> tuple[Guest, int]:
    """Have a client of these channels closed as slow, and publish a little more; give it, and how much each had."""
    frozen = Guest(house.port, receive_bytes=NARROW_BYTES)
    for channel in channels:
        frozen.subscribe(channel)
    published = 0
    while house.hub.counters.slow_clients < 1:
        for channel in channels:
            house.publish(channel, f"{published}:{'x' * 16_384}")
        published += 1
        assert published < PLENTY_KIB // 16
    for channel in channels:
        house.publish(channel, f"{published}:")
    return frozen, published + 1


def missed(house: House, frozen: Guest, channels: list[str], published: int) -> None:
    """Read what a client was sent before its end, come back in its place, and see that together it is everything."""
    frozen.thaw()
    assert frozen.ended() == (3008, "slow")
    with Guest(house.port) as back:
        for channel in channels:
            heard = [push["pub"] for push in frozen.pushes if push["channel"] == channel]
            assert 0 < len(heard) < published - 1
            epoch, offset = heard[0]["epoch"], heard[-1]["offset"]
            result = back.subscribe(channel, recover=True, epoch=epoch, offset=offset)
            assert result.get("recovered"), f"{published - len(heard)} publications are missing"
            heard += result["publications"]
            while heard[-1]["offset"] < published:  # the rest follows
                heard.append(back.push()["pub"])
            assert [publication["offset"] for publication in heard] == list(range(1, published + 1))
            assert [int(publication["data"].partition(":")[0]) for publication in heard] == list(range(published))


def test_who_was_closed_for_being_slow_resumes_with_all_it_missed(house: House) -> None:
    """In order and once: what it had read, what had waited for it, and what was published while it was gone."""
    channels = [f"news:{name}" for name in "abcd"]
    frozen, published = freeze_out(house, channels)
    with frozen:
        missed(house, frozen, channels, published)


def test_who_was_closed_for_being_slow_resumes_in_one_channel_too(house: House) -> None:
    """Whatever made it slow came from one channel: what it missed is no more than what might have waited for it."""
    frozen, published = freeze_out(house, ["news:a"])
    with frozen:
        missed(house, frozen, ["news:a"], published)


@pytest.mark.parametrize("slow", ["drop_oldest", "latest_only"])
def test_where_a_channel_drops_frozen_clients_stay(house: House, slow: Slow, caplog: pytest.LogCaptureFixture) -> None:
    """They miss publications, counted and with one line each, and get the newest when they read again, in order."""
    channel = f"{slow}:a"
    with ExitStack() as stack:
        readers = guests(stack, house, channel, READERS, frozen=False)
        frozen = guests(stack, house, channel, FROZEN, frozen=True)
        published = freeze(house, channel, FROZEN, readers)
        last = published + 40
        for number in range(published, last):
            house.publish(channel, f"{number}:{'x' * 32_768}")
            for reader in readers:
                assert reader.publication().startswith(f"{number}:")

        counters = house.hub.counters
        dropped = house.call(lambda: counters.publications_dropped)
        assert (counters.slow_clients, counters.disconnects) == (0, 0)
        assert house.call(lambda: len(house.hub.sessions)) == READERS + FROZEN
        lines = [record.getMessage() for record in caplog.records if "publications are dropped" in record.getMessage()]
        assert sorted(line.split()[1] for line in lines) == sorted(guest.id for guest in frozen)

        missed = 0
        for guest in frozen:
            guest.thaw()
            heard = [-1]
            while heard[-1] < last - 1:
                heard.append(int(guest.publication().partition(":")[0]))
            assert heard == sorted(set(heard))
            missed += last - (len(heard) - 1)
            if slow == "latest_only":
                assert heard[-2] < published + 10  # in between it was given nothing but the last
            else:
                assert heard[-2] == last - 2
            assert guest.subscribe("news:b")  # its line is as good as ever
            assert not guest.pushes
        assert missed == dropped
