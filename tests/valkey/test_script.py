"""Scripts: run by checksum, and known to the server after the first time."""

from __future__ import annotations

import hashlib

from openline.valkey.script import Script


def test_it_is_run_by_its_checksum() -> None:
    """The command holds the checksum, the number of keys, keys and arguments."""
    script = Script("return 1")
    sha = hashlib.sha1(b"return 1").hexdigest().encode()
    words = (b"EVALSHA", sha, b"1", b"key", b"2", b"x")
    assert script.packed([b"key"], [2, b"x"]) == b"*6\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def test_where_it_is_not_known_it_is_sent_whole() -> None:
    """The same command with the source in place of the checksum."""
    assert b"EVAL\r\n$8\r\nreturn 1\r\n$1\r\n0" in Script("return 1").packed_whole([], [])


def test_files_are_put_behind_each_other() -> None:
    """What several scripts have in common is written once."""
    one = Script.read("openline.brokers", "valkey_stream.lua")
    both = Script.read("openline.brokers", "valkey_stream.lua", "valkey_history.lua")
    assert len(both.packed_whole([], [])) > len(one.packed_whole([], []))
