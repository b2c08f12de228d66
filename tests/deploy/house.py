"""Two nodes on one engine, and a proxy in front of them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self, final

from tests.deploy.node import Node
from tests.deploy.proxy import HAProxy, Nginx, Proxy
from tests.engines.process import wait_until

PROXIES: Final = {"nginx": Nginx, "haproxy": HAProxy}
_SETTLE_SECONDS: Final = 15


@final
class House:
    """Two nodes and a proxy. It is started and ended by a `with` block.

    Args:
        proxy: which of `PROXIES`.
        broker: the address of the engine; the house has a prefix of its own in it.
        origins: of pages elsewhere that may connect.
        connections: how many the first node takes; 0 for any number.
    """

    def __init__(self, proxy: str, broker: str, origins: Sequence[str] = (), *, connections: int = 0) -> None:
        url = f"{broker}{'&' if '?' in broker else '?'}prefix=test{secrets.token_hex(8)}"
        self._owned = ExitStack()
        self.nodes = (Node("one", url, origins, connections=connections), Node("two", url, origins))
        self.proxy: Proxy = PROXIES[proxy]([node.port for node in self.nodes])
        for server in (*self.nodes, self.proxy):
            self._owned.callback(server.close)

    def __enter__(self) -> Self:
        with ExitStack() as undone:
            undone.callback(self._owned.close)
            with ThreadPoolExecutor() as threads:
                list(threads.map(Node.start, self.nodes))
            self.proxy.start()
            self.wait_until_whole()
            undone.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._owned.close()

    def wait_until_whole(self) -> None:
        """Wait until the nodes know of each other and the proxy leads to both."""
        wait_until(self._acquainted, "both nodes know each other")
        wait_until(self._leads_to_both, "the proxy leads to both nodes", _SETTLE_SECONDS)

    def _acquainted(self) -> bool:
        states = [node.state() for node in self.nodes]
        return all({one["id"] for one in states} <= set(state["nodes"]) for state in states)

    def _leads_to_both(self) -> bool:
        """A refused handshake: it passes where lines pass, and is none."""
        before = [self._asked(node) for node in self.nodes]
        for _ in range(8):
            self.proxy.ask("/connection/")
        return all(self._asked(node) > count for node, count in zip(self.nodes, before, strict=True))

    def _asked(self, node: Node) -> int:
        return int(node.state()["requests"].get("/connection/", 0))
