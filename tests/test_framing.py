"""How payloads are wrapped for a wire: RFC 6455 frames, whole messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from openline import codes
from openline.framing import (
    COMPRESSED_FROM_BYTES,
    DEFLATED,
    EVENTS,
    MESSAGES,
    RECORDS,
    SEPARATE,
    WEBSOCKET,
    WINDOW_BITS,
    Encoding,
    close_frame,
    encoding,
    unpacked,
)
from openline.protocol.codec import Codec
from openline.protocol.json import JSON
from openline.protocol.protobuf import PROTOBUF


def codec_of(binary: bool) -> Codec:
    """Give a codec whose messages are binary, or one whose are not."""
    return PROTOBUF if binary else JSON


def received(chunks: bytes, window_bits: int | None = None) -> list[Frame]:
    """Read a server's bytes as a client of another library does; with a window, as one that agreed to compression."""
    client = Protocol(CLIENT, state=OPEN, max_size=None)
    if window_bits is not None:
        client.extensions = [PerMessageDeflate(True, True, window_bits, 15)]
    client.receive_data(chunks)
    assert client.parser_exc is None
    return [event for event in client.events_received() if isinstance(event, Frame)]


class TestWebSocketFrames:
    """What goes to the transport as it is."""

    @pytest.mark.parametrize(
        ("size", "head"),
        [
            (0, "8100"),
            (1, "8101"),
            (125, "817d"),
            (126, "817e007e"),
            (127, "817e007f"),
            (65_535, "817effff"),
            (65_536, "817f0000000000010000"),
            (70_000, "817f0000000000011170"),
        ],
    )
    def test_a_length_is_written_in_the_shortest_of_three_ways(self, size: int, head: str) -> None:
        """Seven bits up to 125, then sixteen, from 65,536 on sixty-four; the payload follows unmasked."""
        payload = b"x" * size
        assert WEBSOCKET.wrap([payload], JSON) == bytes.fromhex(head) + payload

    @pytest.mark.parametrize(("binary", "opcode"), [(False, Opcode.TEXT), (True, Opcode.BINARY)])
    def test_text_and_binary_differ_in_the_opcode(self, binary: bool, opcode: Opcode) -> None:
        """Everything else is the same; each frame is a whole message."""
        [frame] = received(WEBSOCKET.wrap([b"{}"], codec_of(binary)))
        assert frame == Frame(opcode, b"{}", fin=True)

    @given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.booleans())
    def test_frames_follow_each_other(self, payloads: list[bytes], binary: bool) -> None:
        """Chunks are whole, so any two can stand side by side in one write."""
        chunks = b"".join(WEBSOCKET.wrap([payload], codec_of(binary)) for payload in payloads)
        assert [bytes(frame.data) for frame in received(chunks)] == payloads

    @pytest.mark.parametrize("code", codes.DISCONNECTS, ids=lambda code: str(code.number))
    def test_a_close_frame_says_code_and_reason(self, code: codes.DisconnectCode) -> None:
        """A client reads both back."""
        [frame] = received(close_frame(code.number, code.reason))
        assert frame.opcode is Opcode.CLOSE
        assert Close.parse(frame.data) == Close(code.number, code.reason)

    def test_a_close_without_a_code_has_none_in_its_frame(self) -> None:
        """1005 says so to programs; on the wire it is nothing."""
        assert close_frame(1005, "") == b"\x88\x00"

    def test_the_longest_reason_fills_a_control_frame(self) -> None:
        """125 bytes: two for the code, the rest for the reason."""
        frame = close_frame(4000, "ü" * 61 + "x")
        assert frame[:2] == bytes((0x88, 125))
        assert len(frame) == 127


class TestDeflatedFrames:
    """What goes to the transport of a client that agreed to compression."""

    @given(
        st.lists(st.tuples(st.binary(max_size=2000), st.integers(1, 50)), min_size=1, max_size=4),
        st.integers(WINDOW_BITS, 15),
        st.booleans(),
    )
    def test_a_client_reads_what_was_sent(
        self, payloads: list[tuple[bytes, int]], window_bits: int, binary: bool
    ) -> None:
        """Compressed or not, one after the other, with nothing kept in between, in any window that will do."""
        sent = [payload * times for payload, times in payloads]
        chunks = b"".join(DEFLATED.wrap([payload], codec_of(binary)) for payload in sent)
        frames = received(chunks, window_bits)
        assert [bytes(frame.data) for frame in frames] == sent
        assert {frame.opcode for frame in frames} == {Opcode.BINARY if binary else Opcode.TEXT}

    @pytest.mark.parametrize("binary", [False, True])
    def test_short_messages_are_sent_as_they_are(self, binary: bool) -> None:
        """They would hardly become shorter, and cost the client as much to read."""
        short, long = b"x" * (COMPRESSED_FROM_BYTES - 1), b"x" * COMPRESSED_FROM_BYTES
        assert DEFLATED.wrap([short], codec_of(binary)) == WEBSOCKET.wrap([short], codec_of(binary))
        assert len(DEFLATED.wrap([long], codec_of(binary))) < 20

    def test_what_would_become_longer_is_sent_as_it_is(self) -> None:
        """Noise does."""
        noise = bytes(range(256))
        assert DEFLATED.wrap([noise], PROTOBUF) == WEBSOCKET.wrap([noise], PROTOBUF)


class TestWholeMessages:
    """What a server below frames by itself."""

    @pytest.mark.parametrize("binary", [False, True])
    def test_a_payload_stays_what_it_is(self, binary: bool) -> None:
        """Not even copied."""
        payload = b"x" * 300
        assert MESSAGES.wrap([payload], codec_of(binary)) is payload


class TestSeparateFrames:
    """What goes to clients that expect one message in each frame."""

    @given(st.lists(st.binary(max_size=70_000), min_size=1, max_size=4), st.booleans())
    def test_each_message_has_a_frame_of_its_own(self, messages: list[bytes], binary: bool) -> None:
        """Clients of any library read them; where a server below frames, the messages are taken out again."""
        chunk = SEPARATE.wrap(messages, codec_of(binary))
        frames = received(chunk)
        assert [bytes(frame.data) for frame in frames] == messages
        assert {frame.opcode for frame in frames} == {Opcode.BINARY if binary else Opcode.TEXT}
        assert list(unpacked(chunk)) == messages


class TestStreams:
    """What goes into the never-ending body of an HTTP response."""

    def test_a_record_is_a_line_or_says_its_length(self) -> None:
        """Every line is ended, also the last of a chunk: whoever reads line by line does not wait for the next."""
        assert RECORDS.wrap([b'{"id":1}', b"{}"], JSON) == b'{"id":1}\n{}\n'
        assert RECORDS.wrap([b"\x02\x08\x01", b"\x00"], PROTOBUF) == b"\x02\x08\x01\x00"

    def test_each_message_is_an_event(self) -> None:
        """An empty line ends it."""
        assert EVENTS.wrap([b'{"id":1}', b"{}"], JSON) == b'data: {"id":1}\n\ndata: {}\n\n'


class TestEncoding:
    """A codec and a framing together."""

    def test_messages_are_joined_before_they_are_framed(self) -> None:
        """One frame for a batch: lines in JSON, lengths in Protobuf."""
        lines = [b'{"id":1}', b"{}"]
        assert Encoding(JSON, WEBSOCKET).wrap(lines) == b'\x81\x0b{"id":1}\n{}'
        assert Encoding(PROTOBUF, WEBSOCKET).wrap([b"\x02\x08\x01", b"\x00"]) == b"\x82\x04\x02\x08\x01\x00"
        assert Encoding(JSON, MESSAGES).wrap(lines) == b'{"id":1}\n{}'

    def test_each_encoding_is_its_own(self) -> None:
        """They are compared by identity: a key in the hot path, made once per kind of wire."""
        assert Encoding(JSON, WEBSOCKET) != Encoding(JSON, WEBSOCKET)

    def test_there_is_one_encoding_for_all_who_compress_alike(self) -> None:
        """So that they are one audience, for whom a message is compressed once."""
        assert encoding(JSON, DEFLATED) is encoding(JSON, DEFLATED)
        assert encoding(JSON, DEFLATED) is not encoding(JSON, WEBSOCKET)
        assert encoding(JSON, DEFLATED) is not encoding(PROTOBUF, DEFLATED)

    def test_an_encoding_shows_what_it_is_made_of(self) -> None:
        """In a log one sees the codec and the kind of wire."""
        assert repr(Encoding(PROTOBUF, WEBSOCKET)) == "Encoding(protobuf, WebSocketFrames)"
