"""The released JavaScript library of the API, as it is, against a server on a socket: every method it has."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from openline.testing import connect
from tests.api.house import KEY, house_hub, served
from tests.pages import ROOT
from tests.running import environment

SCRIPT = Path(__file__).with_name("cent_js.mjs")


def played(folder: Path, url: str) -> dict[str, Any]:
    """Run the script of the back end; give what each call gave."""
    (folder / "node_modules").symlink_to(ROOT / "web/node_modules")
    shutil.copy(SCRIPT, folder)
    done = subprocess.run(
        ["node", SCRIPT.name, url],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {told["name"]: told["given"] for told in map(json.loads, done.stdout.splitlines())}


async def test_every_method_of_the_library(tmp_path: Path) -> None:
    """Each gives what the library promises, its pipeline of commands of the old form among them."""
    hub = house_hub()
    app = FastAPI()
    app.include_router(hub.router)
    app.include_router(hub.api(KEY))
    async with served(app) as address, connect(app, name="ann") as ann:
        given = await asyncio.to_thread(played, tmp_path, f"{address}/api")
        pushes = [await ann.push() for _ in range(3)]
        assert (await ann.closed()).code == 3503
    assert [name for push in pushes for name in push if name != "channel"] == ["subscribe", "unsubscribe", "refresh"]
    epoch = given["publish"]["epoch"]
    assert given["publish"] == {"offset": 1, "epoch": epoch}
    first, nowhere = given["broadcast"]["responses"]
    assert (first["result"]["offset"], nowhere["error"]["code"]) == (2, 102)
    assert next(iter(given["getPresence"]["presence"].values()))["user"] == "ann"
    assert given["getPresenceStats"] == {"num_clients": 1, "num_users": 1}
    assert given["getChannels"] == {"channels": {"tick:a": {"num_clients": 1}}}
    assert [node["num_clients"] for node in given["getInfo"]["nodes"]] == [1]
    assert given["getHistory"] == {"publications": [{"data": {"a": 2}, "offset": 2}], "epoch": epoch, "offset": 2}
    for method in ("subscribe", "unsubscribe", "refresh", "removeHistory", "disconnect"):
        assert given[method] == {}
    assert list(given["refused"]) == ["failed"]
    published, channels, refused = given["pipeline"]
    assert (published["offset"], channels, refused) == (1, {"channels": {}}, None)
