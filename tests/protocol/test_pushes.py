"""What the engine says, in the words of the wire."""

from __future__ import annotations

import pytest

from openline import codes
from openline.protocol.json import JSON
from openline.protocol.messages import PING, Reply, SubscribePush, raw
from openline.protocol.pushes import (
    channel_push,
    error_reply,
    info_message,
    message_push,
    pub_message,
    pub_messages,
    subscribe_push,
    unsubscribe_push,
)
from openline.publication import Arrival, ClientInfo, Publication

ADA = ClientInfo(user="42", client="c-1", connection=b'{"name":"Ada"}', channel=b'"owner"')
ANONYMOUS = ClientInfo(user="", client="c-2")


def said(reply: Reply) -> str:
    """Give a message as a JSON client reads it."""
    return JSON.encode(reply).decode()


def test_a_publication_without_history_is_its_data() -> None:
    """No offset, no epoch, no info: only what was published."""
    assert said(channel_push("a", Publication(b'"x"'))) == '{"push":{"channel":"a","pub":{"data":"x"}}}'


def test_the_first_publication_of_a_stream_names_its_epoch() -> None:
    """A client that subscribed before the stream was born learns the epoch from it; later ones do not repeat it."""
    first = pub_message(Publication(b"1", offset=1, previous=0, epoch="abc"))
    second = pub_message(Publication(b"2", offset=2, previous=1, epoch="abc"))
    assert (first.epoch, first.offset) == ("abc", 1)
    assert (second.epoch, second.offset) == ("", 2)


def test_the_first_of_a_stream_need_not_have_offset_one() -> None:
    """Offsets increase, by whatever the broker counts in: the first is the one without a predecessor."""
    assert pub_message(Publication(b"1", offset=700, previous=0, epoch="abc")).epoch == "abc"


def test_who_published_is_told_with_both_kinds_of_info() -> None:
    """A publication by a client carries who it is, and what the app says of connection and subscription."""
    reply = channel_push("a", Publication(b"1", info=ADA))
    expected = '"info":{"user":"42","client":"c-1","conn_info":{"name":"Ada"},"chan_info":"owner"}'
    assert expected in said(reply)


def test_info_that_is_not_there_stays_away() -> None:
    """Of an anonymous client user and client are said, and nothing else."""
    reply = channel_push("a", Arrival(ANONYMOUS, joined=True))
    assert said(reply) == '{"push":{"channel":"a","join":{"info":{"user":"","client":"c-2"}}}}'


@pytest.mark.parametrize("tags", [None, {}], ids=["none", "empty"])
def test_no_tags_are_not_said(tags: dict[str, str] | None) -> None:
    """An empty map is the same as none."""
    assert "tags" not in said(channel_push("a", Publication(b"1", tags=tags)))


def test_tags_go_with_the_publication() -> None:
    """Clients may filter and show by them."""
    assert '"tags":{"kind":"note"}' in said(channel_push("a", Publication(b"1", tags={"kind": "note"})))


def test_join_and_leave_differ_by_name_only() -> None:
    """Both always say who it was."""
    join, leave = (channel_push("a", Arrival(ADA, joined=joined)).push for joined in (True, False))
    assert join is not None
    assert leave is not None
    assert join.join == leave.leave
    assert join.join is not None
    assert join.join.info == info_message(ADA)
    assert join.leave is leave.join is None


def test_publications_keep_their_order() -> None:
    """A recovery is applied in the order in which it stands."""
    kept = [Publication(b"%d" % offset, offset=offset, previous=offset - 1, epoch="e") for offset in (1, 2, 3)]
    assert [pub.offset for pub in pub_messages(kept)] == [1, 2, 3]


def test_the_end_of_a_subscription_has_code_and_reason() -> None:
    """Both are always there: a client indexes them."""
    push = said(unsubscribe_push("a", codes.UNSUBSCRIBED_INSUFFICIENT_STATE))
    assert push == '{"push":{"channel":"a","unsubscribe":{"code":2500,"reason":"insufficient state"}}}'


def test_a_subscription_by_the_server_is_announced() -> None:
    """The client learns where the stream stands, as from a subscribe reply."""
    push = said(subscribe_push("a", SubscribePush(recoverable=True, epoch="e", offset=3, positioned=True)))
    expected = '{"recoverable":true,"epoch":"e","offset":3,"positioned":true}'
    assert push == '{"push":{"channel":"a","subscribe":' + expected + "}}"


def test_a_message_has_no_channel() -> None:
    """It belongs to the connection."""
    assert said(message_push(b"[1]")) == '{"push":{"message":{"data":[1]}}}'


def test_a_refusal_has_the_commands_id_and_the_codes_words() -> None:
    """The message is never empty, and `temporary` only said where it holds."""
    assert (
        said(error_reply(7, codes.PERMISSION_DENIED)) == '{"id":7,"error":{"code":103,"message":"permission denied"}}'
    )
    assert '"temporary":true' in said(error_reply(7, codes.INTERNAL_ERROR))


def test_a_push_is_no_answer_and_no_ping() -> None:
    """A client tells pushes from answers by the missing id, and from pings by what they hold."""
    push = channel_push("a", Publication(b""))
    assert push.id == 0
    assert push != PING
    assert push.push is not None
    assert push.push.pub is not None
    assert push.push.pub.data is raw(b"")
