"""What waits for an ASGI server: in order, in pieces that are not too large, with a mark on either side."""

from __future__ import annotations

from openline.wires.unsent import Unsent
from tests.wires.receivers import Recorder


async def test_chunks_go_out_together_up_to_a_size() -> None:
    """In their order; one that is larger goes by itself."""
    unsent, recorder = Unsent(), Recorder()
    chunks = [b"a", b"b" * 65_535, b"c", b"d" * 70_000, b"e"]
    unsent.offer(recorder, chunks[0], chunks[1:])
    assert unsent.changed.is_set()

    pieces = []
    while unsent:
        pieces.append(unsent.take_some())

    assert pieces == [chunks[:2], chunks[2:3], chunks[3:4], chunks[4:]]


async def test_the_receiver_pauses_at_one_mark_and_goes_on_at_a_lower_one() -> None:
    """It is told once each time, and not before the server has said that it is done with what it took."""
    unsent, recorder = Unsent(), Recorder()
    unsent.offer(recorder, b"x" * 65_536, ())
    assert recorder.is_silent()
    unsent.offer(recorder, b"y", [b"z"])
    unsent.offer(recorder, b"z", ())
    assert recorder.next() == ("paused",)

    first = unsent.take()
    assert unsent.size_bytes == 65_539
    unsent.sent(recorder, len(first) - 16_384)
    assert recorder.is_silent()
    unsent.sent(recorder, 3)

    assert recorder.next() == ("resumed",)
    assert recorder.is_silent()


async def test_what_the_wire_adds_at_its_end_asks_nobody_to_pause() -> None:
    """There is nobody left to pause."""
    unsent = Unsent()
    unsent.put(b"x" * 100_000)
    assert unsent.size_bytes == 100_000


async def test_what_is_dropped_is_gone() -> None:
    """Nothing of it counts."""
    unsent, recorder = Unsent(), Recorder()
    unsent.offer(recorder, b"x", [b"y"])
    unsent.drop()
    assert not unsent
    assert unsent.size_bytes == 0
