"""Telling a server what to do, through the routes of its app."""

from __future__ import annotations

from typing import Any, final

import httpx2

from tests.servers.server import Server


@final
class Control:
    """The app's own routes, called from outside."""

    def __init__(self, server: Server, client: httpx2.AsyncClient) -> None:
        self._server = server
        self._client = client

    async def _post(self, path: str, body: Any = None, **query: Any) -> Any:
        response = await self._client.post(self._server.http + path, json=body, params=query)
        response.raise_for_status()
        return response.json()

    async def announce(self, room: str, **message: str) -> None:
        """Publish to a room by the program's own route."""
        await self._post(f"/rooms/{room}", message)

    async def publish(self, channel: str, data: Any, **tags: str) -> Any:
        """Publish to any channel; give epoch and offset."""
        return await self._post("/control/publish", {"channel": channel, "data": data, "tags": tags})

    async def send(self, user: str, data: Any) -> None:
        """Send a message to everything a user has open."""
        await self._post(f"/control/users/{user}/send", data)

    async def subscribe(self, user: str, channel: str) -> None:
        """Put a user into a channel."""
        await self._post(f"/control/users/{user}/subscribe/{channel}")

    async def unsubscribe(self, user: str, channel: str, code: int, reason: str) -> None:
        """Take a user out of a channel."""
        await self._post(f"/control/users/{user}/unsubscribe/{channel}", {"code": code, "reason": reason})

    async def disconnect(self, user: str, code: int, reason: str) -> None:
        """Close everything a user has open."""
        await self._post(f"/control/users/{user}/disconnect", {"code": code, "reason": reason})

    async def door(self) -> dict[str, int]:
        """Give how often the guarded hub's door was opened and closed, and its sessions."""
        answer = await self._client.get(f"{self._server.http}/control/door")
        answer.raise_for_status()
        counts: dict[str, int] = answer.json()
        return counts

    async def flood(self, name: str, *, kibibytes: int) -> int:
        """Publish a large message; give how many sessions the hasty hub has."""
        sessions: int = await self._post(f"/control/flood/{name}", kibibytes=kibibytes)
        return sessions
