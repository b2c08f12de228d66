"""Houses: two nodes and a proxy, for the tests of one module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.house import PROXIES, House
from tests.engines.valkey import ValkeyServer


@pytest.fixture(scope="module")
def nginx_house(valkey: ValkeyServer) -> Iterator[House]:
    """A house on Valkey, behind nginx."""
    with House("nginx", valkey.url) as made:
        yield made


@pytest.fixture(scope="module")
def haproxy_house(valkey: ValkeyServer) -> Iterator[House]:
    """A house on Valkey, behind HAProxy."""
    with House("haproxy", valkey.url) as made:
        yield made


@pytest.fixture(params=PROXIES)
def house(request: pytest.FixtureRequest) -> House:
    """A house behind each of the proxies."""
    made: House = request.getfixturevalue(f"{request.param}_house")
    return made
