"""The Protobuf codec: length-prefixed messages in, length-prefixed messages out."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline.protocol import client_pb2
from openline.protocol.codec import DecodeError
from openline.protocol.messages import (
    NOTHING,
    PING,
    Command,
    FilterNode,
    Info,
    Pub,
    PublishRequest,
    PublishResult,
    Push,
    Reply,
    RpcResult,
    raw,
)
from openline.protocol.protobuf import PROTOBUF
from tests.protocol.plain import plain, plain_message, replies


def delimited(payload: bytes) -> bytes:
    """Put a length before a message, the slow way."""
    size, prefix = len(payload), b""
    while size > 0x7F:
        prefix += bytes([size % 128 + 128])
        size //= 128
    return prefix + bytes([size]) + payload


def messages_of(frame: bytes) -> list[bytes]:
    """Cut a frame at its lengths, the slow way."""
    found = []
    while frame:
        length = shift = 0
        while frame[0] > 0x7F:
            length += (frame[0] - 128) << shift
            shift += 7
            frame = frame[1:]
        length += frame[0] << shift
        found.append(frame[1 : 1 + length])
        frame = frame[1 + length :]
    return found


def frame_of(**request: object) -> bytes:
    """Make a frame of one command."""
    return delimited(client_pb2.Command(**request).SerializeToString())  # type: ignore[arg-type]


class TestDecode:
    """A frame of a client becomes commands."""

    def test_an_empty_message_is_a_pong(self) -> None:
        """A single zero byte, as many of them as there are."""
        assert [Command(), Command()] == list(PROTOBUF.decode(b"\x00\x00"))

    def test_commands_before_a_broken_one_are_given_out(self) -> None:
        """Reading is lazy: what came before the error has been handed over when it is raised."""
        commands = PROTOBUF.decode(frame_of(id=1, connect={}) + b"\x05\x08")
        assert next(commands).id == 1
        with pytest.raises(DecodeError):
            next(commands)

    def test_a_payload_is_any_bytes(self) -> None:
        """What is no JSON is a payload like every other."""
        [command] = PROTOBUF.decode(frame_of(id=1, publish={"channel": "a", "data": b"\x00\xff\n"}))
        assert Command(id=1, publish=PublishRequest(channel="a", data=raw(b"\x00\xff\n"))) == command

    def test_an_absent_payload_is_nothing(self) -> None:
        """Absent and empty are the same in Protobuf, and both are the one absent payload."""
        [command] = PROTOBUF.decode(frame_of(publish={"channel": "a", "data": b""}))
        assert command.publish is not None
        assert command.publish.data is NOTHING

    def test_an_empty_request_is_one_and_an_absent_one_is_none(self) -> None:
        """Presence of a message is told apart from its being empty."""
        [command] = PROTOBUF.decode(frame_of(id=1, subscribe={"tf": {}}))
        assert command.subscribe is not None
        assert FilterNode() == command.subscribe.tf
        assert command.publish is None

    def test_unknown_fields_are_skipped(self) -> None:
        """A newer client may say more than this server knows: field 99, a string."""
        assert [Command(id=1)] == list(PROTOBUF.decode(delimited(b"\x08\x01\x9a\x06\x03new")))

    def test_fields_that_no_struct_has_are_skipped(self) -> None:
        """The schema knows the numbers of more than the server serves."""
        [command] = PROTOBUF.decode(frame_of(id=1, publish={"channel": "a", "key": "k", "removed": True}))
        assert Command(id=1, publish=PublishRequest(channel="a")) == command

    @pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 70_000])
    def test_a_length_takes_as_many_bytes_as_it_needs(self, size: int) -> None:
        """One byte carries seven bits of a length."""
        payload = b"x" * size
        frame = frame_of(id=1, send={"data": payload}) + frame_of(id=2)
        sent, last = PROTOBUF.decode(frame)
        assert sent.send is not None
        assert payload == bytes(sent.send.data)
        assert last.id == 2

    def test_a_length_may_be_written_longer_than_needed(self) -> None:
        """As every reader of Protobuf has it: zeros on top change nothing."""
        assert [Command(id=1)] == list(PROTOBUF.decode(b"\x82\x80\x00\x08\x01"))

    @pytest.mark.parametrize(
        "frame",
        [
            b"",
            b"\x80",
            b"\x80\x80\x80\x80\x80\x00",
            b"\xff" * 12,
            b"\x01",
            b"\x03\x08\x01",
            b"\xff\xff\xff\xff\x0f\x08",
        ],
        ids=["empty", "half a length", "a length too long", "no end", "no message", "cut off", "four gigabytes"],
    )
    def test_a_broken_length_is_refused(self, frame: bytes) -> None:
        """Truncated, endless, or promising more than is there."""
        with pytest.raises(DecodeError):
            list(PROTOBUF.decode(frame))

    def test_bottomless_nesting_is_refused(self) -> None:
        """A filter in a filter in a filter cannot exhaust the stack."""
        node = b""
        for _ in range(2_000):
            node = b"\x32" + delimited(node)
        with pytest.raises(DecodeError):
            list(PROTOBUF.decode(delimited(b"\x2a" + delimited(b"\x6a" + delimited(node)))))

    @given(st.binary(max_size=60))
    def test_random_bytes_are_commands_or_refused(self, frame: bytes) -> None:
        """Whatever a client sends, nothing but DecodeError is raised."""
        decode_or_refuse(frame)

    @given(st.binary(max_size=60))
    def test_random_bytes_behind_a_right_length_are_commands_or_refused(self, message: bytes) -> None:
        """The same where the noise gets past the length."""
        decode_or_refuse(delimited(message))

    @given(st.data())
    def test_frames_with_a_few_bytes_changed_are_commands_or_refused(self, data: st.DataObject) -> None:
        """A frame that is nearly right is either right or refused."""
        frame = bytearray(data.draw(st.sampled_from(NEARLY)))
        for _ in range(data.draw(st.integers(1, 3))):
            index = data.draw(st.integers(0, len(frame)))
            frame[index : index + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        decode_or_refuse(bytes(frame))


NEARLY = [
    frame_of(id=1, connect={"token": "x", "subs": {"a": {"recover": True, "offset": 3}}, "headers": {"a": "b"}}),
    frame_of(id=2, subscribe={"channel": "a", "tf": {"op": "or", "nodes": [{"key": "k", "cmp": "in", "vals": ["1"]}]}}),
    frame_of(id=3, history={"channel": "a", "limit": -1, "since": {"offset": 1, "epoch": "e"}}) + b"\x00",
]


def decode_or_refuse(frame: bytes) -> None:
    """Decode a frame to its end or to its refusal."""
    with contextlib.suppress(DecodeError):
        for command in PROTOBUF.decode(frame):
            command.request()


class TestEncode:
    """A message becomes bytes behind their length."""

    @given(replies)
    def test_any_reader_of_protobuf_reads_what_was_meant(self, reply: Reply) -> None:
        """The generated classes find each field that is not zero, and each message that is present."""
        [message] = messages_of(PROTOBUF.encode(reply))
        assert plain(reply, always=False) == plain_message(client_pb2.Reply.FromString(message))

    @given(st.lists(replies, min_size=1, max_size=4))
    def test_a_frame_splits_into_its_messages_at_their_lengths(self, messages: list[Reply]) -> None:
        """Joined messages are the messages one after the other, as a client takes them apart."""
        encoded = [PROTOBUF.encode(reply) for reply in messages]
        frame = PROTOBUF.join(encoded)
        assert b"".join(encoded) == frame
        assert len(messages) == len(messages_of(frame))

    def test_a_ping_is_one_zero_byte(self) -> None:
        """An empty message has the length zero and nothing behind it."""
        assert PROTOBUF.encode(PING) == b"\x00"

    @pytest.mark.parametrize("size", [100, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
    def test_a_length_is_written_in_as_few_bytes_as_it_needs(self, size: int) -> None:
        """The prefix is the one every other writer would choose."""
        reply = Reply(id=1, rpc=RpcResult(data=raw(b"x" * size)))
        message = client_pb2.Reply(id=1, rpc={"data": b"x" * size}).SerializeToString()
        assert delimited(message) == PROTOBUF.encode(reply)

    def test_an_empty_result_is_present(self) -> None:
        """A client looks which result is there, so an empty one has to be."""
        [message] = messages_of(PROTOBUF.encode(Reply(id=4, publish=PublishResult())))
        assert client_pb2.Reply.FromString(message).HasField("publish")

    def test_the_info_of_an_anonymous_client_is_present(self) -> None:
        """Who published is told even if nothing is known of them."""
        reply = Reply(push=Push(channel="a", pub=Pub(data=raw(b"1"), info=Info(user="", client=""))))
        [message] = messages_of(PROTOBUF.encode(reply))
        assert client_pb2.Reply.FromString(message).push.pub.HasField("info")

    def test_a_publication_may_carry_any_bytes(self) -> None:
        """A raw channel's payload goes out untouched."""
        payload = bytes(range(256))
        [message] = messages_of(PROTOBUF.encode(Reply(push=Push(channel="a", pub=Pub(data=raw(payload))))))
        assert payload == client_pb2.Reply.FromString(message).push.pub.data
        assert PROTOBUF.carries(payload)


class TestLoading:
    """The codec is loaded when the first client asks for it."""

    def run(self, program: str) -> None:
        """Run a program in a fresh interpreter; it fails the test by failing."""
        command = [sys.executable, "-c", textwrap.dedent(program)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=25, check=False)
        assert done.returncode == 0, done.stderr

    def test_without_the_library_the_extra_is_named(self) -> None:
        """Importing the codec then says what to install."""
        self.run("""
            import sys
            sys.modules["google.protobuf"] = None
            from openline.errors import MissingExtra
            try:
                import openline.protocol.protobuf
            except MissingExtra as error:
                assert "openline[protobuf]" in str(error), error
            else:
                raise SystemExit("imported all the same")
        """)

    def test_with_too_old_a_library_the_extra_is_named(self) -> None:
        """The generated code refuses a runtime older than itself; the cause is kept."""
        self.run("""
            from google.protobuf import runtime_version
            runtime_version.MAJOR = 5
            from openline.errors import MissingExtra
            try:
                import openline.protocol.protobuf
            except MissingExtra as error:
                assert "older" in str(error.__cause__), error.__cause__
            else:
                raise SystemExit("imported all the same")
        """)

    def test_the_official_client_may_live_in_the_same_process(self) -> None:
        """Both schemas stand in one pool of names, whichever comes first."""
        ours, theirs = "import openline.protocol.protobuf", "import centrifuge"
        self.run(f"{ours}\n{theirs}")
        self.run(f"{theirs}\n{ours}")
