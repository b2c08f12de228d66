"""Less than everything, on every server, with the Python SDK in both its modes: patches, and filters."""

from __future__ import annotations

from centrifuge import DeltaType, Filter

from tests.cut import cutter
from tests.servers.control import Control
from tests.servers.people import Crowd
from tests.servers.server import Server


def text(number: int) -> dict[str, str]:
    """Give a message of which little changes, with characters of every length where it does."""
    return {"text": f"Сообщение {number} из многих, {'я' * (number % 5)}{chr(0x1F600 + number)} и ещё немного слов"}


async def test_patches_make_what_was_published(people: Crowd, server: Server, control: Control, name: str) -> None:
    """Live, recovered and live again: the SDK checks each by its checksum."""
    async with cutter(server.port) as proxy:
        alice = await people.connected("alice", port=proxy.port)
        board = await alice.enter(f"board:{name}", delta=DeltaType.FOSSIL)
        for number in range(10):
            await control.publish(f"board:{name}", text(number))
        assert await board.hear_each(10) == [text(number) for number in range(10)]

        proxy.cut()
        await alice.ear.next("connecting")
        await proxy.refused.wait()
        for number in range(10, 15):
            await control.publish(f"board:{name}", text(number))
        proxy.mend()
        subscribed = await board.ear.next("subscribed")
        for number in range(15, 17):
            await control.publish(f"board:{name}", text(number))

        assert (subscribed.was_recovering, subscribed.recovered) == (True, True)
        assert await board.hear_each(7) == [text(number) for number in range(10, 17)]


async def test_only_what_passes_a_filter_is_heard(people: Crowd, server: Server, control: Control, name: str) -> None:
    """Live and recovered; what does not pass moves nobody's place in the stream back."""
    chosen = Filter.all(Filter.is_in("team", ["red", "blue"]), Filter.gte("score", "10"))
    async with cutter(server.port) as proxy:
        alice = await people.connected("alice", port=proxy.port)
        board = await alice.enter(f"board:{name}", tags_filter=chosen)
        await control.publish(f"board:{name}", 1, team="red", score="9.5")
        await control.publish(f"board:{name}", 2, team="blue", score="10.0")
        await control.publish(f"board:{name}", 3)
        assert await board.hear() == 2

        proxy.cut()
        await alice.ear.next("connecting")
        await proxy.refused.wait()
        await control.publish(f"board:{name}", 4, team="green", score="100")
        await control.publish(f"board:{name}", 5, team="red", score="100")
        await control.publish(f"board:{name}", 6, team="red", score="ten")
        proxy.mend()
        subscribed = await board.ear.next("subscribed")
        await control.publish(f"board:{name}", 7, team="red", score="11")

        assert (subscribed.was_recovering, subscribed.recovered) == (True, True)
        assert await board.hear_each(2) == [5, 7]
