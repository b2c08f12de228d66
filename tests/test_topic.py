"""One live channel: positions, gaps, who is in, and batches."""

from __future__ import annotations

from openline import codes
from openline.brokers.base import Page
from openline.codes import DisconnectCode, UnsubscribeCode
from openline.options import ChannelOptions, History
from openline.outbox import Outbox
from openline.publication import Arrival, ClientInfo, Position, Publication
from openline.reduction import Reduction
from openline.subscription import AHEAD, FRESH, LEFT, Subscription
from openline.topic import BATCH_BYTES, HELD_MESSAGES, Entered, Topic
from tests.engine import KEPT, PLAIN, RecordingWire


class Listener:
    """A subscriber that writes down what becomes of it."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.wire = RecordingWire()
        self.outbox = Outbox(self.wire, 1_000_000, self)
        self.ended: DisconnectCode | None = None
        self.lost: UnsubscribeCode | None = None

    def dirty(self) -> None:
        """The test flushes when it likes."""

    def skipped(self, publications: int) -> None:
        """Nothing is dropped here."""

    def end(self, code: DisconnectCode) -> None:
        """Write down the end."""
        self.ended = code

    def lose(self, subscription: Subscription, code: UnsubscribeCode) -> None:
        """Write down the loss."""
        self.lost = code

    def data(self, channel: str = "a") -> list[object]:
        """What was pushed so far."""
        self.outbox.flush()
        return self.wire.publications(channel)


def publication(offset: int, *, previous: int | None = None, epoch: str = "e") -> Publication:
    """A publication whose data is its offset."""
    return Publication(b"%d" % offset, offset, offset - 1 if previous is None else previous, epoch)


def join(topic: Topic, listener: Listener, position: Position = Position.NONE) -> Subscription:
    """Put a listener into a topic."""
    info = ClientInfo("", listener.id)
    subscription = Subscription(topic.channel, listener, info, join_leave=False)
    topic.join(subscription, position)
    return subscription


def kept(offset: int = 0) -> Topic:
    """A topic with history that stands at an offset."""
    topic = Topic("a", KEPT)
    topic.position = Position("e", offset)
    return topic


def drain(topic: Topic) -> None:
    """Deliver everything."""
    while topic.waiting:
        topic.run(100, [])


def test_publications_enter_in_the_order_of_their_offsets() -> None:
    """Each is the successor of the one before, and the topic stands at the last."""
    topic, listener = kept(), Listener("1")
    join(topic, listener, Position("e", 0))
    assert [topic.enter(publication(offset)) for offset in (1, 2, 3)] == [Entered.TAKEN] * 3
    drain(topic)
    assert listener.data() == [1, 2, 3]
    assert topic.position == Position("e", 3)


def test_offsets_need_not_count_by_one() -> None:
    """Continuity is by the predecessor each names: some engines share one sequence among channels."""
    topic, listener = kept(), Listener("1")
    join(topic, listener, Position("e", 0))
    topic.enter(publication(7, previous=0))
    topic.enter(publication(12, previous=7))
    drain(topic)
    assert listener.data() == [7, 12]


def test_what_was_there_before_is_dropped() -> None:
    """A message that arrives twice is delivered once."""
    topic, listener = kept(), Listener("1")
    join(topic, listener, Position("e", 0))
    topic.enter(publication(1))
    assert topic.enter(publication(1)) is Entered.KNOWN
    drain(topic)
    assert listener.data() == [1]


def test_a_gap_holds_everything_newer_back() -> None:
    """Nothing newer is delivered before what is missing."""
    topic, listener = kept(), Listener("1")
    join(topic, listener, Position("e", 0))
    topic.enter(publication(1))
    assert topic.enter(publication(3)) is Entered.GAP
    assert topic.enter(publication(4)) is Entered.HELD
    drain(topic)
    assert listener.data() == [1]


def test_history_heals_a_gap_in_order() -> None:
    """What was missing comes first, then what was held back; what is in both counts once."""
    topic, listener = kept(), Listener("1")
    join(topic, listener, Position("e", 0))
    for offset in (1, 3, 4):
        topic.enter(publication(offset))
    assert topic.heal(Page([publication(2), publication(3)], Position("e", 3)))
    drain(topic)
    assert listener.data() == [1, 2, 3, 4]
    assert listener.lost is None


def test_a_second_gap_among_what_was_held_asks_again() -> None:
    """Healing goes on until nothing is missing."""
    topic, listener = kept(), Listener("1")
    join(topic, listener, Position("e", 0))
    for offset in (2, 5, 6):
        topic.enter(publication(offset))
    asked = []
    for page in (
        Page([publication(1), publication(2)], Position("e", 2)),
        Page([publication(3), publication(4), publication(5)], Position("e", 5)),
    ):
        topic.heal(page)
        asked.append(topic.healing)
    assert asked == [True, False]
    drain(topic)
    assert listener.data() == [1, 2, 3, 4, 5, 6]


def test_a_gap_beyond_history_is_told() -> None:
    """Where history no longer holds what was missed, every subscriber hears of it and none gets a part."""
    topic, listener = kept(), Listener("1")
    join(topic, listener, Position("e", 0))
    topic.enter(publication(9))
    assert not topic.heal(Page([publication(8), publication(9)], Position("e", 9)))
    drain(topic)
    assert listener.data() == []
    assert listener.lost == codes.UNSUBSCRIBED_INSUFFICIENT_STATE
    assert topic.position == Position("e", 9)


def test_a_new_epoch_is_a_gap_that_cannot_be_healed() -> None:
    """A stream that was lost is another stream, whatever its offsets."""
    topic, listener = kept(5), Listener("1")
    join(topic, listener, Position("e", 5))
    assert topic.enter(publication(6, epoch="f")) is Entered.GAP
    assert not topic.heal(Page([publication(6, epoch="f")], Position("f", 6)))
    assert listener.lost == codes.UNSUBSCRIBED_INSUFFICIENT_STATE


def test_a_newcomer_needs_nothing_its_reply_covered() -> None:
    """What entered before a subscription went live is not in its batch, though it is in the others'."""
    topic, early, late = kept(), Listener("1"), Listener("2")
    join(topic, early, Position("e", 0))
    topic.enter(publication(1))
    topic.enter(publication(2))
    join(topic, late, Position("e", 2))
    topic.enter(publication(3))
    drain(topic)
    assert early.data() == [1, 2, 3]
    assert late.data() == [3]


def test_a_newcomer_ahead_of_the_topic_waits_for_it() -> None:
    """A reply that covered what has not arrived yet is not repeated when it does."""
    topic, early, late = kept(), Listener("1"), Listener("2")
    join(topic, early, Position("e", 0))
    topic.enter(publication(1))
    subscription = join(topic, late, Position("e", 3))
    assert subscription.covered == AHEAD
    for offset in (2, 3, 4):
        topic.enter(publication(offset))
    drain(topic)
    assert early.data() == [1, 2, 3, 4]
    assert late.data() == [4]
    assert subscription.covered < AHEAD


def test_a_newcomer_ahead_that_was_sent_something_else_gets_no_patch_of_what_it_was_not_sent() -> None:
    """What its reply covered arrives behind an aside, in the same batch: the next is no patch of the aside."""
    topic, listener = Topic("a", ChannelOptions(history=History(), delta=True)), Listener("1")
    topic.position = Position("e", 0)
    reduction = Reduction(delta=True)
    subscription = Subscription("a", listener, ClientInfo("", "1"), join_leave=False, reduction=reduction)
    assert topic.join(subscription, Position("e", 1))
    long = [b'"%b%d"' % (b"x" * 100, number) for number in range(4)]
    topic.enter(Publication(long[0]))
    topic.enter(Publication(long[1], 1, 0, "e"))
    drain(topic)
    assert subscription.covered == FRESH
    topic.enter(Publication(long[2], 2, 1, "e"))
    drain(topic)
    topic.enter(Publication(long[3], 3, 2, "e"))
    drain(topic)
    assert len(listener.data()) == 3
    pubs = [message["push"]["pub"] for message in listener.wire.messages()]
    assert [pub.get("offset", 0) for pub in pubs] == [0, 2, 3]
    assert [pub.get("delta", False) for pub in pubs] == [False, False, True]


def test_newcomers_of_an_epoch_before_are_told() -> None:
    """What their replies covered was read before the stream was born anew: no offset of it will ever reach them."""
    topic, early, first, second = kept(2), Listener("1"), Listener("2"), Listener("3")
    join(topic, early, Position("e", 2))
    info = ClientInfo("", "")
    assert not topic.join(Subscription("a", first, info, join_leave=False), Position("before", 7))
    # The first has to read history; of the second it is known that somebody does.
    assert topic.join(Subscription("a", second, info, join_leave=False), Position("before", 1))
    assert topic.heal(Page([publication(3)], Position("e", 3)))
    topic.enter(publication(4))
    drain(topic)
    assert early.data() == [3, 4]
    for newcomer in (first, second):
        assert newcomer.lost == codes.UNSUBSCRIBED_INSUFFICIENT_STATE
        assert newcomer.data() == []
    assert (early.lost, list(topic.subscriptions)) == (None, ["1"])


def test_one_ahead_is_told_of_arrivals_all_the_same() -> None:
    """Joins have no offset: a subscriber ahead in positions misses none of them."""
    topic, late = Topic("a", KEPT), Listener("2")
    topic.position = Position("e", 0)
    subscription = Subscription("a", late, ClientInfo("", "2"), join_leave=True)
    topic.join(subscription, Position("e", 5))
    topic.enter(Arrival(ClientInfo("u", "3"), joined=True))
    drain(topic)
    late.outbox.flush()
    assert [message["push"]["join"]["info"]["client"] for message in late.wire.messages()] == ["3"]


def test_joins_go_to_those_who_asked() -> None:
    """Of two subscribers in one batch only the one with the wish gets the join, both get the publication."""
    topic, asked, silent = Topic("a", PLAIN), Listener("1"), Listener("2")
    topic.join(Subscription("a", asked, ClientInfo("", "1"), join_leave=True), Position.NONE)
    join(topic, silent)
    topic.enter(Arrival(ClientInfo("u", "3"), joined=True))
    topic.enter(Publication(b"1"))
    drain(topic)
    assert (asked.data(), silent.data()) == ([1], [1])
    assert len(asked.wire.messages()) == 2
    assert len(silent.wire.messages()) == 1


def test_nobody_gets_anything_after_leaving() -> None:
    """A subscription that ended is passed by, also by what had entered before."""
    topic, listener = Topic("a", PLAIN), Listener("1")
    subscription = join(topic, listener)
    topic.enter(Publication(b"1"))
    topic.leave(subscription)
    drain(topic)
    assert subscription.covered == LEFT
    assert listener.data() == []


def test_leaving_does_not_end_a_newer_subscription_of_the_same_session() -> None:
    """An old subscription that is ended late leaves the one that took its place alone."""
    topic, listener = Topic("a", PLAIN), Listener("1")
    old = join(topic, listener)
    new = join(topic, listener)
    topic.leave(old)
    assert topic.subscriptions == {"1": new}


def test_leave_during_a_sliced_fanout() -> None:
    """One who leaves between two slices gets nothing of the batch that is under way."""
    topic = Topic("a", PLAIN)
    listeners = [Listener(str(number)) for number in range(4)]
    subscriptions = [join(topic, listener) for listener in listeners]
    topic.enter(Publication(b"1"))
    topic.run(2, [])
    topic.leave(subscriptions[3])
    drain(topic)
    assert [listener.data() for listener in listeners] == [[1], [1], [1], []]


def test_join_during_a_sliced_fanout() -> None:
    """One who joins between two slices gets nothing of the batch under way, and all of the next."""
    topic = kept()
    listeners = [Listener(str(number)) for number in range(3)]
    for listener in listeners:
        join(topic, listener, Position("e", 0))
    topic.enter(publication(1))
    topic.run(2, [])
    newcomer = Listener("new")
    join(topic, newcomer, Position("e", 1))
    topic.enter(publication(2))
    drain(topic)
    assert [listener.data() for listener in listeners] == [[1, 2]] * 3
    assert newcomer.data() == [2]


def test_a_batch_behind_a_running_one_waits() -> None:
    """What arrives during a fan-out is the next batch: nobody gets it before the first is through."""
    topic = kept()
    listeners = [Listener(str(number)) for number in range(4)]
    for listener in listeners:
        join(topic, listener, Position("e", 0))
    topic.enter(publication(1))
    topic.run(2, [])
    topic.enter(publication(2))
    topic.run(2, [])
    assert [listener.data() for listener in listeners] == [[1]] * 4
    drain(topic)
    assert [listener.data() for listener in listeners] == [[1, 2]] * 4


def test_a_full_outbox_inside_the_loop_ends_only_its_owner() -> None:
    """Who is too slow is closed after the loop with 3008; the others get their bytes."""
    topic = Topic("a", PLAIN)
    slow, others = Listener("slow"), [Listener(str(number)) for number in range(2)]
    slow.wire.keeps_unread = True
    slow.outbox = Outbox(slow.wire, 10, slow)
    slow.outbox.offer(b"x" * 10)
    join(topic, slow)
    for other in others:
        join(topic, other)
    topic.enter(Publication(b"1"))
    drain(topic)
    assert slow.ended == codes.CLOSED_SLOW
    assert [other.data() for other in others] == [[1], [1]]


def test_a_batch_is_sealed_before_it_grows_too_large() -> None:
    """Much that arrives in one turn leaves in several frames, in order."""
    topic, listener = Topic("a", PLAIN), Listener("1")
    join(topic, listener)
    body = b'"' + b"x" * (BATCH_BYTES // 3) + b'"'
    for _ in range(8):
        topic.enter(Publication(body))
    drain(topic)
    assert len(listener.data()) == 8
    assert len(listener.wire.chunks) == 4
    assert max(map(len, listener.wire.chunks)) < 2 * BATCH_BYTES


def test_a_message_is_encoded_once_for_all() -> None:
    """Subscribers of one audience are given the very same bytes object."""
    topic = Topic("a", PLAIN)
    listeners = [Listener(str(number)) for number in range(3)]
    for listener in listeners:
        join(topic, listener)
    topic.enter(Publication(b"1"))
    topic.enter(Publication(b"2"))
    drain(topic)
    for listener in listeners:
        listener.outbox.flush()
    assert len({id(listener.wire.chunks[0]) for listener in listeners}) == 1


def test_the_tail_is_kept_only_while_somebody_joins() -> None:
    """What arrives between reading history and going live is remembered, and then let go."""
    topic = kept()
    topic.begin_join()
    topic.enter(publication(1))
    assert topic.tail == [publication(1)]
    topic.end_join()
    assert topic.tail == []
    assert topic.deserted


def test_many_small_messages_are_many_batches_too() -> None:
    """Names and infos count: a flood of arrivals is no frame that a client refuses."""
    topic, listener = Topic("a", PLAIN), Listener("1")
    topic.join(Subscription("a", listener, ClientInfo("", "1"), join_leave=True), Position.NONE)
    for _ in range(3_000):
        topic.enter(Arrival(ClientInfo("u", "c", b'"' + b"x" * 400 + b'"'), joined=True))
    while topic.waiting:
        topic.run(100, [])
        listener.outbox.flush()
    assert len(listener.wire.messages()) == 3_000
    assert max(map(len, listener.wire.chunks)) < 2 * BATCH_BYTES


def test_what_is_held_back_is_bounded() -> None:
    """While a gap is open the newest are held; what was let go is read from history with the rest."""
    topic, listener = kept(), Listener("1")
    join(topic, listener, Position("e", 0))
    for offset in range(2, HELD_MESSAGES + 10):
        topic.enter(publication(offset))
    last = HELD_MESSAGES + 9
    topic.heal(Page([publication(1)], Position("e", 1)))
    assert topic.healing
    topic.heal(Page([publication(offset) for offset in range(2, last + 1)], Position("e", last)))
    drain(topic)
    assert listener.data() == list(range(1, last + 1))
