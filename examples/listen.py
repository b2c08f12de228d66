"""Print what comes through a channel, and say when the line is lost and mended.

    python examples/listen.py ws://localhost:8000/connection/websocket price:TEA

A plain program on the released client, `pip install centrifuge-python`.
"""

import asyncio
import json
import sys

from centrifuge import (
    Client,
    ClientEventHandler,
    ConnectedContext,
    ConnectingContext,
    PublicationContext,
    SubscribedContext,
    SubscriptionEventHandler,
)


class Line(ClientEventHandler):
    async def on_connecting(self, ctx: ConnectingContext) -> None:
        print(f"connecting: {ctx.reason}")

    async def on_connected(self, ctx: ConnectedContext) -> None:
        print(f"connected as {ctx.client}")


class Channel(SubscriptionEventHandler):
    async def on_subscribed(self, ctx: SubscribedContext) -> None:
        if ctx.was_recovering:
            print(f"back, with {'all' if ctx.recovered else 'not all'} that was missed")
        else:
            print("subscribed")

    async def on_publication(self, ctx: PublicationContext) -> None:
        print(json.dumps(ctx.pub.data))


async def listen(address: str, channel: str) -> None:
    client = Client(address, events=Line())
    await client.connect()
    await client.new_subscription(channel, events=Channel()).subscribe()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(listen(*sys.argv[1:3]))
