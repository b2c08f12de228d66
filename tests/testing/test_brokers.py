"""check_broker: passes every broker that keeps the contract, however it counts, and says what the others break."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from openline.options import History
from openline.publication import Publication
from openline.testing import brokers as suite
from openline.testing.brokers import BROKER_CHECKS, BrokerCheck, BrokerNodes, check_broker
from openline.testing.contract import ContractBroken
from tests.brokers.plain import PlainStore, PlainStream, plain_nodes

Make = Callable[[], AbstractAsyncContextManager[BrokerNodes]]


class _SparseStore(PlainStore):
    """Counts like a store with one sequence for all its channels: offsets have holes."""

    sequence = 1000

    def next_offset(self, stream: PlainStream) -> int:
        """Take the next number of all, and leave some out."""
        self.sequence += 3
        return self.sequence


class _FailoverStore(_SparseStore):
    """Loses all but the oldest of a stream, notices, and begins a new epoch with what is left."""

    def lose(self, channel: str) -> None:
        """Lose the tail."""
        stream = self.streams.pop(channel)
        survivor = self.streams[channel] = PlainStream(self.new_epoch(), stream.meta_seconds, self.now())
        taken, oldest = stream.kept[0]
        survivor.top = oldest.offset
        survivor.kept = [(taken, Publication(oldest.data, oldest.offset, 0, survivor.epoch, time=oldest.time))]


class _OneEpochStore(_SparseStore):
    """Forgets where a channel stood, but not the epoch: it is that of a sequence which goes on counting."""

    def stream(self, channel: str, history: History) -> PlainStream:
        """Begin anew in the old epoch, after a place nobody stands at."""
        known = self.streams.get(channel)
        stream = super().stream(channel, history)
        if known is not None and known is not stream:
            stream.epoch = known.epoch
            stream.top = self.next_offset(stream)
        return stream


MAKERS: dict[str, Make] = {
    "one node": plain_nodes(nodes=1),
    "two nodes": plain_nodes(nodes=2),
    "three nodes": plain_nodes(nodes=3),
    "sparse offsets": plain_nodes(_SparseStore),
    "failover": plain_nodes(_FailoverStore),
    "one epoch": plain_nodes(_OneEpochStore),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
@pytest.mark.parametrize("check", BROKER_CHECKS, ids=str)
async def test_passes_what_keeps_the_contract(check: BrokerCheck, make: Make) -> None:
    """Neither the number of nodes nor the way of counting matters, nor that calls and arrivals take their time."""
    await check(make)


async def test_names_the_broken_guarantee() -> None:
    """The error of `check_broker` begins with the guarantee, and carries the check and the problem apart."""

    class _Forgetful(PlainStore):
        def still_kept(
            self, kept: list[tuple[float, Publication]], history: History
        ) -> list[tuple[float, Publication]]:
            return super().still_kept(kept, history)[:2]

    with pytest.raises(ContractBroken) as caught:
        await check_broker(plain_nodes(_Forgetful))
    broken = caught.value
    assert broken.guarantee in {check.guarantee for check in BROKER_CHECKS}
    assert str(broken) == f"{broken.guarantee} ({broken.check}): {broken.problem}"


def test_every_check_has_a_name_and_a_promise() -> None:
    """Names differ, so that each is a test of its own, and each says in words what it holds a broker to."""
    assert len({check.name for check in BROKER_CHECKS}) == len(BROKER_CHECKS) > 30


def test_every_numbered_guarantee_is_checked() -> None:
    """The list at the top of the interface has eight, and none goes unchecked."""
    numbers = {check.guarantee[0] for check in BROKER_CHECKS if check.guarantee[0].isdigit()}
    assert numbers == set("12345678")


def test_exports() -> None:
    """What an implementer needs comes from one place."""
    assert set(suite.__all__) == {"BROKER_CHECKS", "BrokerCheck", "BrokerNodes", "check_broker"}
