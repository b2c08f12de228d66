"""uWebSockets, the server in C++, through `socketify`: its own publish and subscribe, without compression; an echo.

Chosen: the largest idle timeout it has, as idle lines would else be closed after two minutes, and messages as large as
Openline takes. The rest are its defaults, but for the loop: socketify's `run` calls uWebSockets' loop out of asyncio's
over and over and hardly ever waits, which charges uWebSockets a fifth more for a delivery and three times as much for a
handshake. Here that loop runs by itself and waits in the kernel, as it does in C++.

`python -m bench.servers.uwebsockets PORT` runs it.
"""

from __future__ import annotations

import sys
from typing import Any

from socketify import App, AppListenOptions, CompressOptions


def opened(line: Any) -> None:
    """Put everyone into the one topic."""
    line.subscribe("room")


def said(line: Any, message: Any, opcode: Any) -> None:
    """Tell everyone what one says: with socketify the publisher too."""
    line.publish("room", message, opcode)


def asked(line: Any, message: Any, opcode: Any) -> None:
    """Say back what one says."""
    line.send(message, opcode)


chosen = {"compression": CompressOptions.DISABLED, "idle_timeout": 960, "max_payload_length": 65_536}
app = App()
app.ws("/ws", {**chosen, "open": opened, "message": said})
app.ws("/echo", {**chosen, "message": asked})
app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"), lambda config: None)
app.loop.uv_loop.run()
