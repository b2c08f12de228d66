"""The JSON codec: lines in, lines out, and no payload that breaks another client."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openline.protocol.codec import DecodeError, NestedTooDeep
from openline.protocol.json import DEEPEST_LINE, JSON, depth_past, is_json, one_line
from openline.protocol.messages import NOTHING, PING, Command, Reply, RpcResult, raw
from tests.protocol.plain import payloads, plain, replies


def data_of(frame: bytes) -> bytes:
    """Give the payload of the one publish command in a frame."""
    [command] = JSON.decode(frame)
    assert command.publish is not None
    return bytes(command.publish.data)


def publish(data: bytes) -> bytes:
    """Make a frame of one publish command around a payload's text."""
    return b'{"id":1,"publish":{"channel":"a","data":' + data + b"}}"


class TestDecode:
    """A frame of a client becomes commands."""

    def test_commands_before_a_broken_one_are_given_out(self) -> None:
        """Reading is lazy: what came before the error has been handed over when it is raised."""
        commands = JSON.decode(b'{"id":1,"connect":{}}\n{"id":2,')
        assert next(commands).id == 1
        with pytest.raises(DecodeError):
            next(commands)

    def test_unknown_fields_are_skipped(self) -> None:
        """A newer client may say more than this server knows."""
        [command] = JSON.decode(b'{"id":1,"novelty":[1],"rpc":{"method":"a","more":{}}}')
        assert command.rpc is not None
        assert command.rpc.method == "a"

    def test_a_payload_is_taken_as_it_was_written(self) -> None:
        """Spaces, the order of keys and the way a number is written are the publisher's own."""
        assert data_of(publish(b' {"b": 1.0, "a":1e2} ')) == b'{"b": 1.0, "a":1e2}'

    def test_null_is_a_payload_and_absence_is_none(self) -> None:
        """`null` is what the app sent; a field that is not there is nothing."""
        assert data_of(publish(b"null")) == b"null"
        [command] = JSON.decode(b'{"publish":{}}')
        assert command.publish is not None
        assert command.publish.data is NOTHING

    def test_a_request_that_is_null_is_none(self) -> None:
        """A client may write the requests it does not make."""
        [command] = JSON.decode(b'{"id":1,"connect":null,"send":{}}')
        assert command.connect is None
        assert command.send is not None

    def test_a_frame_that_is_no_utf8_is_refused(self) -> None:
        """Not even inside a payload: it would end the connection of everyone it is passed on to."""
        with pytest.raises(DecodeError, match="UTF-8"):
            list(JSON.decode(publish(b'"\xff"')))

    def test_a_surrogate_in_utf8_is_refused(self) -> None:
        """Python's own reader takes it, browsers do not."""
        with pytest.raises(DecodeError):
            list(JSON.decode(publish(b'"\xed\xa0\x80"')))

    @pytest.mark.parametrize(
        ("cut", "mended"),
        [
            (rb'"wow \ud83d"', rb'"wow \ufffd"'),
            (rb'"\ude00 wow"', rb'"\ufffd wow"'),
            (rb'"\uD83D\u0041"', rb'"\ufffd\u0041"'),
            (rb'"\ud83d\ud83d\ude00"', rb'"\ufffd\ud83d\ude00"'),
            (rb'{"\ud83d":"\\ud83d"}', rb'{"\ufffd":"\\ud83d"}'),
        ],
        ids=["first half", "second half", "first half before a letter", "first half before a pair", "escaped escape"],
    )
    def test_half_an_emoji_does_not_end_the_connection(self, cut: bytes, mended: bytes) -> None:
        """JavaScript writes half a pair where a text was cut inside an emoji; it is read as U+FFFD."""
        assert mended == data_of(publish(cut))

    def test_half_an_emoji_in_a_name_is_read_too(self) -> None:
        """The same holds for the fields of the protocol itself."""
        [command] = JSON.decode(rb'{"id":1,"subscribe":{"channel":"a\ud83d"}}')
        assert command.subscribe is not None
        assert command.subscribe.channel == "a\ufffd"

    def test_mending_does_not_save_what_is_broken_elsewhere(self) -> None:
        """A frame with half an emoji and a real error is refused."""
        with pytest.raises(DecodeError):
            list(JSON.decode(rb'{"id":1,"publish":{"data":"\ud83d"}'))

    def test_a_payload_has_no_line_break_of_any_kind(self) -> None:
        """A carriage return between tokens would break an event stream; it becomes a space."""
        assert data_of(publish(b'[1,\r2,"\\r"]')) == b'[1, 2,"\\r"]'

    @pytest.mark.parametrize("depth", [1_000, 30_000])
    def test_bottomless_nesting_is_refused(self, depth: int) -> None:
        """Neither a payload nor a filter can exhaust the stack."""
        for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
            with pytest.raises(DecodeError):
                list(JSON.decode(publish(opening * depth + b"1" + closing * depth)))
        with pytest.raises(DecodeError):
            list(JSON.decode(b'{"subscribe":{"tf":' + b'{"nodes":[' * depth + b"]}" * depth + b"}}"))


class TestEncode:
    """A message becomes a line."""

    @given(replies)
    def test_any_reader_of_json_reads_what_was_meant(self, reply: Reply) -> None:
        """An independent reader finds each field that is not zero, and those that are always written."""
        assert plain(reply, always=True) == json.loads(JSON.encode(reply))

    @given(st.lists(replies, min_size=1, max_size=4))
    def test_a_frame_splits_into_its_messages_at_newlines(self, messages: list[Reply]) -> None:
        """What clients do: split at each newline and parse every piece."""
        frame = JSON.join([JSON.encode(reply) for reply in messages])
        assert [plain(reply, always=True) for reply in messages] == [json.loads(line) for line in frame.split(b"\n")]

    def test_a_ping_is_an_empty_object(self) -> None:
        """Two bytes, as clients expect them."""
        assert JSON.encode(PING) == b"{}"


class TestPayloads:
    """What may be embedded in a message for a JSON client."""

    @given(payloads)
    def test_json_is_json(self, payload: bytes) -> None:
        """Whatever Python writes as JSON is taken, and is the same on one line."""
        assert is_json(payload)
        assert payload == one_line(payload)
        assert JSON.carries(payload)

    @given(st.binary())
    def test_bytes_that_are_called_json_are_read_by_every_reader(self, payload: bytes) -> None:
        """No false friends: what passes here is read by Python's reader too."""
        if is_json(payload):
            json.loads(payload)

    @pytest.mark.parametrize(
        "payload",
        [b"", b" ", b"NaN", b"{", b"'a'", b"01", b'"\xff"', b"1 2", b"\xef\xbb\xbf1", b"\x00", b"[1,]", b"1" * 5_000],
        ids=repr,
    )
    def test_what_some_client_could_not_read_is_no_json(self, payload: bytes) -> None:
        """An empty payload, a byte order mark, a bare NaN: a client would end its connection over them."""
        assert not is_json(payload)
        assert not JSON.carries(payload)
        with pytest.raises(ValueError, match="JSON"):
            one_line(payload)

    @pytest.mark.parametrize("line_break", [b"\n", b"\r", b"\r\n"], ids=repr)
    def test_line_breaks_between_tokens_are_taken_out(self, line_break: bytes) -> None:
        """Pretty-printed JSON is the same value on one line."""
        pretty = b'{"a":' + line_break + b' [1, "x\\ny"]' + line_break + b"}"
        assert not JSON.carries(pretty)
        line = one_line(pretty)
        assert JSON.carries(line)
        assert json.loads(pretty) == json.loads(line)

    def test_half_an_emoji_in_a_payload_is_mended(self) -> None:
        """As in a command: from a Protobuf client the payload arrives as bytes."""
        assert one_line(rb'"\ud83d"') == rb'"\ufffd"'

    @given(st.text(alphabet=st.characters(codec=None), max_size=10))
    def test_every_text_javascript_can_hold_becomes_a_payload(self, text: str) -> None:
        """Whatever string a browser sends, halves of pairs included, a strict reader can read it afterwards."""
        json.loads(data_of(publish(json.dumps(text).encode()))).encode()


class TestFuzz:
    """Whatever a client sends, the answer is commands or DecodeError."""

    @given(st.binary(max_size=200))
    def test_random_bytes(self, frame: bytes) -> None:
        """Noise is refused and nothing else is raised."""
        decode_or_refuse(frame)

    @given(st.data())
    def test_frames_with_a_few_bytes_changed(self, data: st.DataObject) -> None:
        """A frame that is nearly right is either right or refused, and its payloads stay whole."""
        frame = bytearray(data.draw(st.sampled_from(NEARLY)))
        for _ in range(data.draw(st.integers(1, 3))):
            index = data.draw(st.integers(0, len(frame) - 1))
            frame[index : index + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
            if not frame:
                break
        decode_or_refuse(bytes(frame))


NEARLY = [
    b'{"id":1,"connect":{"token":"x","subs":{"a":{"recover":true,"offset":3}}}}\n{"id":2,"subscribe":{"channel":"a"}}',
    publish(b'{"a":[1,2.5e3,null,true,"\\u00e9\\ud83d\\ude00"]}'),
    b'{"id":1,"history":{"channel":"a","limit":-1,"since":{"offset":1,"epoch":"e"},"reverse":true}}',
    b'{"id":1,"subscribe":{"channel":"a","tf":{"op":"or","nodes":[{"key":"k","cmp":"in","vals":["1"]}]}}}',
]


def decode_or_refuse(frame: bytes) -> None:
    """Decode a frame; every payload that is given out can be embedded in a frame for others."""
    commands: list[Command] = []
    with contextlib.suppress(DecodeError):
        commands.extend(JSON.decode(frame))
    for payload in [payload for command in commands for payload in payloads_of(command)]:
        assert b"\n" not in payload
        assert b"\r" not in payload
        payload.decode()
        json.loads(JSON.encode(Reply(id=1, rpc=RpcResult(data=raw(payload)))))


def payloads_of(command: Command) -> list[bytes]:
    """Give the payloads a command holds."""
    held = [getattr(request, "data", NOTHING) for request in (command.request(),) if request is not None]
    return [bytes(payload) for payload in held if payload]


# --- depth --------------------------------------------------------------------------------------------------------


tricky_texts = st.text(st.sampled_from('a[]{}"\\\u00e9,:'), max_size=6)
values = st.recursive(
    st.one_of(tricky_texts, st.integers(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(tricky_texts, inner, max_size=4),
        inner.map(lambda value: [[value]]),
    ),
    max_leaves=30,
)


def depth_of(value: Any) -> int:
    """Say how deep a value nests, as one would say it."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, list) else 0


def nested(depth: int) -> bytes:
    """Give arrays and objects within each other, by turns."""
    pairs = [(b"[", b"]"), (b'{"a":', b"}")]
    opening = b"".join(pairs[level % 2][0] for level in range(depth))
    return opening + b"1" + b"".join(pairs[level % 2][1] for level in reversed(range(depth)))


class TestDepth:
    """How deep a text nests is found without going down into it."""

    @given(values, st.integers(0, 12), st.sampled_from([None, 2]), st.booleans())
    def test_it_is_that_of_the_value(self, value: Any, limit: int, indent: int | None, escaped: bool) -> None:
        """Whatever stands in its texts, however it is written; 0 where it is not past the limit."""
        depth = depth_of(value)
        text = json.dumps(value, indent=indent, ensure_ascii=escaped).encode()

        assert depth_past(text, limit) == (depth if depth > limit else 0)

    @pytest.mark.parametrize("depth", [1, 4, 5, 6, 65, 10_000])
    def test_it_is_exact(self, depth: int) -> None:
        """At the limit, one past it, and far beyond what any reader could read."""
        assert depth_past(nested(depth), depth) == 0
        assert depth_past(nested(depth), depth - 1) == depth

    def test_past_the_limit_a_long_text_is_not_looked_at_to_its_end(self) -> None:
        """Whoever nests a million deep is past it soon enough."""
        assert 64 < depth_past(b"[" * 10_000_000, 64) <= 65_536
        assert depth_past(b"[1]," * 100_000 + nested(100_000), 99_999) == 100_000

    @given(st.binary(max_size=3), st.integers(0, 40), st.booleans())
    def test_it_is_the_same_wherever_a_slice_ends(self, odd: bytes, shift: int, deep: bool) -> None:
        """Within a text, an escape, or a row of brackets: nothing is counted twice, and nothing left out."""
        tricky = json.dumps([['"[[[', "\\", '\\"[{', odd.decode("latin-1")], {"\n": [[]]}, []] * 2).encode()
        text = b"[" + (b" " * (65_500 + shift) + tricky + b",") * 3 + (nested(20) if deep else b"1") + b"]"
        depth = depth_of(json.loads(text))
        for limit in (3, 4, 5, 19, 20, 21):
            assert depth_past(text, limit) == 0 if depth <= limit else depth_past(text, limit) > limit

    def test_a_frame_at_the_bound_is_read(self) -> None:
        """So that a payload past the limit can be answered with an error."""
        inner = nested(DEEPEST_LINE - 2)

        assert data_of(publish(inner)) == inner

    @pytest.mark.parametrize("depth", [DEEPEST_LINE - 1, 900, 30_000, 1_000_000])
    def test_a_frame_past_the_bound_is_not_read_at_all(self, depth: int) -> None:
        """At the same depth always, not where the stack happens to end: with a raised limit that ends the process."""
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(1_000_000)
        try:
            with pytest.raises(NestedTooDeep, match=f"nests {depth + 2} deep" if depth < 1_000 else r"nests \d+ deep"):
                list(JSON.decode(publish(nested(depth))))
            with pytest.raises(NestedTooDeep):
                list(JSON.decode(b'{"id":1,"novelty":' + nested(depth + 1) + b"}"))
        finally:
            sys.setrecursionlimit(limit)

    def test_each_command_of_a_frame_counts_for_itself(self) -> None:
        """A hundred of them hold more brackets than one may nest; those before a deep one are given out."""
        line = publish(nested(9))
        assert len(list(JSON.decode(b"\n".join([line] * 100)))) == 100
        commands = JSON.decode(b"\n".join([line] * 50 + [publish(nested(DEEPEST_LINE))]))
        for _ in range(50):
            next(commands)
        with pytest.raises(NestedTooDeep):
            next(commands)


@pytest.mark.parametrize("end", [b"", b"\xff"], ids=["whole", "broken at its end"])
def test_nobody_goes_down_the_stack_to_see_whether_something_is_json(end: bytes) -> None:
    """What nests deeper than a line may is no JSON for a client, whatever it ends in; one that nests as deep is."""
    assert not is_json(b"[" * (DEEPEST_LINE + 1) + b"]" * (DEEPEST_LINE + 1) + end)
    assert is_json(b"[" * DEEPEST_LINE + b"]" * DEEPEST_LINE)
