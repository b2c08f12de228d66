"""`check_broker`: the guarantees of `openline.brokers.base`, checked against any broker.

Write a factory and give it to every check, as tests of their own so that a failure names the guarantee:

    @asynccontextmanager
    async def nodes() -> AsyncIterator[BrokerNodes]:
        async with my_server() as address:
            yield BrokerNodes(brokers=[MyBroker(address), MyBroker(address)])

    @pytest.mark.parametrize("check", BROKER_CHECKS, ids=str)
    async def test_my_broker_keeps_the_contract(check):
        await check(nodes)

or run them all at once with ``await check_broker(nodes)``. Two brokers on one store check what one cannot: give two
wherever there can be more than one node.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from openline.testing.broker_carrying import CARRYING_CHECKS
from openline.testing.broker_failing import FAILING_CHECKS
from openline.testing.broker_keys import KEY_CHECKS
from openline.testing.broker_stage import BrokerCheck, BrokerNodes
from openline.testing.broker_streams import STREAM_CHECKS
from openline.testing.broker_words import WORD_CHECKS

__all__ = ["BROKER_CHECKS", "BrokerCheck", "BrokerNodes", "check_broker"]

#: Every check, each of which runs alone: ``await check(make)``.
BROKER_CHECKS: Final[tuple[BrokerCheck, ...]] = (
    *CARRYING_CHECKS,
    *KEY_CHECKS,
    *STREAM_CHECKS,
    *WORD_CHECKS,
    *FAILING_CHECKS,
)


async def check_broker(make: Callable[[], AbstractAsyncContextManager[BrokerNodes]]) -> None:
    """Check every guarantee, one after the other, each on nodes of its own.

    What the set-up gives no hook for (`BrokerNodes.lose`, `outage`, `cut`, `idempotency_seconds`) is not checked.

    Args:
        make: the factory: makes an async context manager that yields nodes nobody used before.
    Raises:
        ContractBroken: the first guarantee that is not kept; its message begins with its number and name.
    """
    for check in BROKER_CHECKS:
        await check(make)
