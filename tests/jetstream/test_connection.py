"""One connection to NATS: whatever its end meets, it is known to be lost."""

from __future__ import annotations

import asyncio

from openline.jetstream.address import NatsAddress
from openline.jetstream.connection import Connection
from tests.cut import cutter
from tests.engines.nats import NatsServer


async def test_a_connection_that_ends_with_something_unsent_is_lost(nats: NatsServer) -> None:
    """Of which nats-py tells nobody: a node would go on believing in it for good."""
    async with cutter(nats.port) as line:
        address = NatsAddress.parse(f"nats://127.0.0.1:{line.port}")
        connection = Connection(lambda subject, headers, data: None)
        await connection.open(address, address.servers[0], "test")
        line.hold()
        for _ in range(32):  # more than the sockets take
            await connection.send("somewhere", b"x" * 524_288)
        await asyncio.sleep(0)  # what waits is being sent now
        await connection.send("somewhere", b"the last")
        line.cut()
        async with asyncio.timeout(10):
            await connection.lost.wait()
        await connection.drop()
