"""A network with a proxy of its own between the browser and us, which lets through what it likes.

It is an nginx as well, but nobody has told it what a line is: it knows neither WebSocket nor streams.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final, final

from tests.deploy.proxy import nginx_command, nginx_places, replaced
from tests.engines.ports import HeldPort
from tests.engines.process import ServerProcess

_ANSWER_SECONDS: Final = 2

_FILE: Final = """\
user www-data;
worker_processes 1;
worker_rlimit_nofile 65536;
pid /run/nginx.pid;
error_log /var/log/nginx/error.log warn;
events {
    worker_connections 16384;
}
http {
    access_log /var/log/nginx/access.log;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_ignore_headers X-Accel-Buffering;
    server {
        listen 127.0.0.1:PORT;
        location / {
            proxy_pass http://127.0.0.1:TARGET;
        }
        location /connection/ {
            proxy_pass http://127.0.0.1:TARGET;
            proxy_buffering off;
        }
        location /connection/websocket {
            WEBSOCKET
        }
        location /connection/http_stream {
            STREAMS
        }
    }
    server {
        listen unix:SOCKET;
        location / {
            proxy_pass http://127.0.0.1:TARGET;
            proxy_buffering off;
        }
    }
}
"""
_PASSED_ON: Final = """\
proxy_pass http://127.0.0.1:TARGET;
            proxy_buffering off;
"""
# Over a hop that speaks HTTP/1.0, as nginx does to servers unless it is told otherwise: with no chunks to be seen, it
# waits until a buffer is full.
_HELD_BACK: Final = """\
proxy_pass http://unix:SOCKET;
            proxy_http_version 1.0;
"""
_UPGRADE: Final = """\
proxy_pass http://127.0.0.1:TARGET;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
"""


@final
class Network(ServerProcess):
    """A network on the way to a server.

    Args:
        target: the port of 127.0.0.1 to which everything goes.
    """

    def __init__(self, target: int) -> None:
        super().__init__("network")
        self._port = HeldPort()
        self._target = target
        self._file = self.folder / "network.conf"
        self._rules(websocket=True, streams=True)

    @property
    def http(self) -> str:
        """The address of the server as this network sees it."""
        return f"http://127.0.0.1:{self._port.number}"

    def become(self, *, websocket: bool, streams: bool) -> None:
        """Change the rules; what goes through it breaks.

        Args:
            websocket: it lets WebSocket through.
            streams: it passes on at once what comes on an http_stream, instead of waiting for its end.
        """
        self.stop()
        self._rules(websocket=websocket, streams=streams)
        self.start()

    def close(self) -> None:
        """End it with its workers, and give its port back; nothing happens the second time."""
        self.stop()
        super().close()
        self._port.close()

    def _rules(self, *, websocket: bool, streams: bool) -> None:
        text = replaced(_FILE, nginx_places(self.folder))
        text = text.replace("WEBSOCKET", _UPGRADE if websocket else "return 403;")
        text = text.replace("STREAMS", _PASSED_ON if streams else _HELD_BACK)
        text = text.replace("SOCKET", str(self.folder / "inner.sock"))
        text = text.replace("PORT", str(self._port.number)).replace("TARGET", str(self._target))
        self._file.write_text(text)

    def _command(self) -> Sequence[str | Path]:
        return nginx_command(self._file)

    def _answers(self) -> bool:
        """Whether it leads to a server: 502 is its own word."""
        try:
            with urllib.request.urlopen(f"{self.http}/state", timeout=_ANSWER_SECONDS):
                return True
        except urllib.error.HTTPError as error:
            return error.code != 502
        except OSError:
            return False
