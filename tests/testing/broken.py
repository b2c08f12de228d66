"""Tries the contract suite on brokers that are broken in one place."""

from __future__ import annotations

from openline.testing.brokers import BROKER_CHECKS
from openline.testing.contract import ContractBroken
from tests.brokers.plain import PlainBroker, PlainStore, plain_nodes


async def problems_of(guarantee: str, broken: type[PlainStore] | type[PlainBroker], *, nodes: int = 2) -> list[str]:
    """Run the checks of one guarantee against a broken store, or a broken node, and give what they found.

    What they raise has to name this guarantee and no other.
    """
    store = broken if issubclass(broken, PlainStore) else PlainStore
    broker = broken if issubclass(broken, PlainBroker) else PlainBroker
    found: list[ContractBroken] = []
    for check in BROKER_CHECKS:
        if check.guarantee == guarantee:
            try:
                await check(plain_nodes(store, broker, nodes=nodes, arrival_seconds=0.2), limit_seconds=5)
            except ContractBroken as error:
                found.append(error)
    assert all(str(error).startswith(f"{guarantee} ({error.check}): ") for error in found)
    return [error.problem for error in found]
