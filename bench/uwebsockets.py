"""The peer in C++: uWebSockets' own publish and subscribe, through `socketify`."""

from __future__ import annotations

import sys
from typing import Any

from socketify import App, CompressOptions


def opened(line: Any) -> None:
    """Put every line into the one topic."""
    line.subscribe("room")


def said(line: Any, message: Any, opcode: Any) -> None:
    """Send what one says to all."""
    line.publish("room", message, opcode)


app = App()
app.ws("/ws", {"compression": CompressOptions.DISABLED, "idle_timeout": 960, "open": opened, "message": said})
app.listen(int(sys.argv[1]), lambda config: None)
app.run()
