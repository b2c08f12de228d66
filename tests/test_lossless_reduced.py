"""The first promise for those who are sent less: patches make what was published, filters hold back nothing else.

The world and its troubles are those of `test_lossless`.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openline.options import Limits
from tests.engine import Engine, running
from tests.protocol.fossil import apply
from tests.test_lossless import OPTIONS, STEPS, Follower, World, live


def ahead(follower: int, published: int, overtaking: int) -> tuple[tuple[str, int], ...]:
    """Have somebody come back to more than has arrived here yet, and something overtake the rest of it."""
    arriving = (("overtake", overtaking), ("release", 7))
    return ("hold", 0), ("publish", published), ("cut", follower), ("go round", 20), *arriving, ("go round", 2)


#: Beside what is published in the stream, something without a position.
WITH_ASIDES = st.lists(
    st.one_of(
        STEPS.map(tuple),
        st.tuples(st.tuples(st.sampled_from(["aside", "overtake"]), st.integers(0, 40))),
        st.builds(ahead, st.integers(0, 2), st.integers(0, 2), st.integers(0, 40)),
    )
).map(lambda parts: [step for part in parts for step in part][:40])


class Patching(Follower):
    """A client with delta: it makes each payload of the one before it, as it was given it on this subscription."""

    options: ClassVar = msgspec.structs.replace(OPTIONS, delta=True)
    wishes: ClassVar = {"delta": "fossil"}

    @staticmethod
    def message(number: int) -> tuple[object, dict[str, str] | None]:
        """Give a text of which little changes, with characters of all lengths at the edges of the changes."""
        return f"Сообщение {number} из многих, {'я' * (number % 5)}{chr(0x1F600 + number % 7)} и ещё немного слов", None

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.patches = 0
        self._before: bytes | None = None

    def _subscribed(self, result: dict[str, Any]) -> None:
        assert result["delta"]
        self._before = None  # a patch of what another subscription was given would not do
        super()._subscribed(result)

    def _advance(self, publication: dict[str, Any]) -> None:
        data = publication["data"].encode()
        if publication.get("delta"):
            assert self._before is not None, "a patch of nothing"
            self.patches += 1
            data = apply(self._before, data)
        self._before = data
        made = json.loads(data)
        offset = publication.get("offset", 0)
        if not offset:
            assert made.startswith("aside")
            return
        assert offset == self.offset + 1, f"has {self.offset}, was given {offset}"
        assert made == self.message(offset)[0], "the payload is another one"
        self.offset = offset


class Choosing(Follower):
    """A client with a filter: it knows what passes, and is given that, all of it, in order and once."""

    options: ClassVar = msgspec.structs.replace(OPTIONS, filters=True)
    wishes: ClassVar = {"tf": {"key": "kind", "cmp": "in", "vals": ["2", "3"]}}

    @staticmethod
    def message(number: int) -> tuple[object, dict[str, str] | None]:
        """Give a number; some have no tags."""
        return number, {"kind": str(number % 7)} if number % 7 else None

    @staticmethod
    def passes(number: int) -> bool:
        """Tell whether it is wanted."""
        return number % 7 in (2, 3)

    def _recovered(self, offset: int) -> None:
        assert offset >= self.offset
        assert not any(map(self.passes, range(self.offset + 1, offset + 1))), "it is put past what it has not got"
        self.offset = offset

    def has_all_of(self, published: int) -> bool:
        """Tell whether nothing that passes is missing."""
        return not any(map(self.passes, range(self.offset + 1, published + 1)))

    def _advance(self, publication: dict[str, Any]) -> None:
        offset = publication["offset"]
        assert publication["data"] == offset, "the data is of another publication"
        assert offset > self.offset, f"has {self.offset}, was given {offset}"
        assert self.passes(offset), f"{offset} does not pass"
        assert self.has_all_of(offset - 1), f"has {self.offset}, was given {offset}"
        self.offset = offset


@pytest.mark.parametrize("remote", [False, True], ids=["memory", "network"])
@settings(max_examples=300, deadline=None)
@given(steps=WITH_ASIDES)
def test_patches_make_exactly_what_was_published(remote: bool, steps: list[tuple[str, int]]) -> None:
    """Whatever interleaving of joins, gaps and recoveries: no patch of what was not given, no payload changed."""
    limits = Limits(outbox_bytes=4_000, recovery_publications=6)
    asyncio.run(live(steps, remote=remote, kind=Patching, limits=limits))


@pytest.mark.parametrize("remote", [False, True], ids=["memory", "network"])
@settings(max_examples=300, deadline=None)
@given(steps=STEPS)
def test_filters_hold_back_only_what_does_not_pass(remote: bool, steps: list[tuple[str, int]]) -> None:
    """The same troubles: all that passes, in order, once, or the client is told."""
    asyncio.run(live(steps, remote=remote, kind=Choosing))


def test_patches_are_sent() -> None:
    """The property above is not empty: from the second publication on there are patches, live and recovered."""

    async def follow() -> list[int]:
        counts = []
        async with running(Patching.options) as engine:
            world = World(engine, None, followers=1, kind=Patching)
            (follower,) = world.followers
            assert isinstance(follower, Patching)
            follower.come()
            for step in (("publish", 2), ("cut", 0), ("publish", 2)):
                await world.act(step)
                await engine.settle()
                follower.look()
                counts.append(follower.patches)
            assert follower.session is not None
            follower.session.closed(1006, "")
            await world.publish(4)
            follower.come()
            await engine.settle()
            follower.look()
            return [*counts, follower.patches]

    assert asyncio.run(follow()) == [2, 2, 4, 7]
