"""Dialing: connected and let in, or told why not, with nothing left behind."""

from __future__ import annotations

import asyncio
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from openline.errors import BrokerUnavailable, DeclarationError
from openline.valkey.address import ValkeyAddress
from openline.valkey.dialing import dial, encryption_of, silence_of
from openline.valkey.fleet import Fleet
from openline.valkey.line import Line
from openline.valkey.trouble import AccessDenied, Trouble, Unsent
from openline.valkey.words import pack
from tests.engines.process import wait_until
from tests.engines.resp import Program
from tests.engines.valkey import ValkeyServer


async def dialed(url: str) -> Line:
    """Dial the first server of a URL."""
    address = ValkeyAddress.parse(url)
    return await dial(address.endpoints[0], address, encryption_of(address), name="dialing")


async def asked(line: Line, *words: str) -> object:
    """Ask something, and close the line."""
    try:
        return await line.call(pack(words), asyncio.get_running_loop().time() + 5)
    finally:
        line.lose("done")


async def test_a_server_is_reached(valkey: ValkeyServer) -> None:
    """Its list of clients shows who we are."""
    assert b"name=dialing" in await asked(await dialed(valkey.url), "CLIENT", "LIST")  # type: ignore[operator]


async def test_a_database_is_chosen(valkey: ValkeyServer) -> None:
    """The line works in the database of the address."""
    assert b" db=3" in await asked(await dialed(f"{valkey.url}/3"), "CLIENT", "INFO")  # type: ignore[operator]
    with pytest.raises(AccessDenied, match="DB index"):
        await dialed(f"{valkey.url}/99999")


async def test_a_password_lets_us_in() -> None:
    """With the right one commands are taken; without, and with a wrong one, we are told, and it is not shown."""
    with ValkeyServer(password="right") as server:
        server.call("ACL", "SETUSER", "me", "on", ">mine", "~*", "+@all")
        place = f"127.0.0.1:{server.port}"
        for secret in (":right@", "me:mine@"):
            assert await asked(await dialed(f"valkey://{secret}{place}"), "ECHO", "1") == b"1"
        for secret in ("", ":wr0ng@", "me:wr0ng@", "you:wr0ng@"):
            with pytest.raises(AccessDenied) as raised:
                await dialed(f"valkey://{secret}{place}")
            assert "does not let us in" in str(raised.value)
            assert "wr0ng" not in str(raised.value)
        wait_until(lambda: b"name=dialing" not in server.call("CLIENT", "LIST"), "no line is left")


@pytest.mark.parametrize("program", ["valkey", "redis"])
async def test_a_server_that_repeats_what_it_was_told_shows_no_password(
    program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    """One that does not know AUTH answers with what came with it: neither an error nor the log has that."""
    with ValkeyServer(program, options=('rename-command AUTH ""',)) as server:
        for secret in (":s3cret@", "wh0:s3cret@"):
            address = ValkeyAddress.parse(f"valkey://{secret}127.0.0.1:{server.port}?timeout=2")
            with pytest.raises(AccessDenied, match="unknown command") as denied:
                await dial(address.endpoints[0], address, None)
            fleet = Fleet(address, "dialing")
            with pytest.raises(BrokerUnavailable, match="unknown command") as unavailable:
                await fleet.start(asyncio.get_running_loop().time() + 5)
            printed = [*traceback.format_exception(denied.value), *traceback.format_exception(unavailable.value)]
            for words in (*printed, caplog.text):
                assert "s3cret" not in words
                assert "wh0" not in words


async def test_a_socket_is_reached() -> None:
    """A server on this machine needs no port."""
    with tempfile.TemporaryDirectory() as folder:  # tmp_path may be longer than the name of a socket
        socket = Path(folder) / "s.sock"
        with ValkeyServer(options=(f"unixsocket {socket}",)):
            assert await asked(await dialed(f"valkey+unix://{socket}"), "ECHO", "1") == b"1"


async def test_nobody_there_is_told() -> None:
    """A port that refuses, a name nobody has, a socket that is not there."""
    with ValkeyServer() as server:
        port = server.port
        server.kill()
        for url in (f"valkey://127.0.0.1:{port}", "valkey://no-such-host.invalid", "valkey+unix:///no/such.sock"):
            with pytest.raises(Unsent, match="cannot be reached"):
                await dialed(url)


async def test_a_frozen_server_is_given_up_in_time() -> None:
    """It takes the connection, and says nothing."""
    with ValkeyServer() as server:
        server.freeze()
        with pytest.raises(Unsent, match="did not"):
            await dialed(f"{server.url}?timeout=0.5")


async def test_tls_is_checked() -> None:
    """With the authority of the server's certificate we get in; without it, or without TLS, we do not."""
    with ValkeyServer("redis", tls=True) as server:
        url = f"{server.url}?ca={server.authority}"
        assert await asked(await dialed(url), "ECHO", "1") == b"1"
        with pytest.raises(Unsent, match="certificate"):
            await dialed(server.url)
        with pytest.raises(Trouble):
            await dialed(f"redis://127.0.0.1:{server.port}?timeout=0.5")


def test_certificates_that_cannot_be_read_are_named() -> None:
    """The file that is missing is in the words."""
    with pytest.raises(DeclarationError, match=r"no/such\.pem"):
        encryption_of(ValkeyAddress.parse("valkeys://host?ca=/no/such.pem"))
    assert encryption_of(ValkeyAddress.parse("valkey://host")) is None


async def test_a_replica_is_no_master() -> None:
    """Where sentinels say who the master is, the server has to say so too."""
    with ValkeyServer() as master, ValkeyServer(replica_of=master) as replica:
        for server, is_master in ((master, True), (replica, False)):
            address = ValkeyAddress.parse(server.url)
            under_sentinels = replace(address, kind="sentinel", master="main")
            dialing = dial(address.endpoints[0], under_sentinels, None)
            if is_master:
                (await dialing).lose("done")
            else:
                with pytest.raises(Unsent, match="not the master"):
                    await dialing


def test_silence_leaves_time_for_another_attempt() -> None:
    """A server is given up before the calls are that wait for it."""
    address = ValkeyAddress.parse("valkey://host?timeout=5")
    assert 0 < silence_of(address) < 0.7 * address.timeout
