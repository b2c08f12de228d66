"""How a subscriber that missed more than one reply can hold gets the rest: part by part, as it reads.

The reply has said that it is recovered and brought the first part. From there on one step after the other is taken in
turn with the client's own commands, and each waits until the client has read most of what it was sent: so one that was
closed because it could not keep up gets what it missed, and is not closed for it again.

Until it has caught up the topic offers it no publication; the last step is taken in one call with going live, like any
join. If history lost what comes next meanwhile, the client is told (2500, or 3010): nothing is passed over.
"""

from __future__ import annotations

import asyncio
from typing import Final

from openline import codes
from openline.brokers.base import Page
from openline.errors import BrokerUnavailable, Disconnect
from openline.membership import check_fit
from openline.node import Node
from openline.protocol.pushes import pub_push
from openline.recovery import BrokenTail, Recovered, advance
from openline.session import Session
from openline.subscription import BEHIND, Subscription
from openline.topic import Topic

#: Seconds before a step is tried again, while the broker is away.
RETRY_SECONDS: Final = 0.5


async def catch_up(node: Node, session: Session, channel: str) -> None:
    """Take one step, and see to the next. While the broker is away nothing is lost: it is tried again.

    Raises:
        Disconnect: the client's codec cannot carry what comes next, or the broker broke its promise.
    """
    subscription, topic = session.subscription(channel), node.topic(channel)
    if subscription is None or topic is None or topic.options.history is None or subscription.covered != BEHIND:
        return  # it has left meanwhile, and may be back: live, or with a step of its own to come
    topic.begin_join()
    try:
        page = await node.broker.history(
            channel,
            history=topic.options.history,
            since=subscription.position,
            limit=node.limits.recovery_publications,
        )
        if subscription.covered == BEHIND:  # it may have left meanwhile, or be live: where it stands the topic goes on
            _advance(node, session, topic, subscription, page)
    except BrokerUnavailable as error:
        words = "session %s catches up with channel %s later: %s"
        node.notices.take("histories_failed", words, session.id, channel, error)
        node.spawn(_again(session, channel))
    finally:
        node.leave_topic(topic)


def _advance(node: Node, session: Session, topic: Topic, subscription: Subscription, page: Page) -> None:
    reduction, codec = subscription.audience.reduction, session.outbox.encoding.codec
    quoted = reduction.is_quoted(codec)
    try:
        recovered = advance(subscription.position.offset, page, topic.tail, node.limits, quoted=quoted)
    except BrokenTail as error:
        raise Disconnect(codes.CLOSED_INSUFFICIENT_STATE) from error
    if not _goes_on(topic, subscription, page, recovered):
        node.counters.recoveries_failed += 1
        session.lose(subscription, codes.UNSUBSCRIBED_INSUFFICIENT_STATE)
        return
    publications = reduction.wanted(recovered.publications)
    check_fit(session, topic.options, publications)
    # Something without a position may have been sent since the last step: a patch is of what this step brings.
    for pub in reduction.messages(publications, codec, topic.patches):
        if not session.push(pub_push(topic.channel, pub)):
            return
    subscription.position = recovered.position
    if recovered.follows:
        session.catch_up(topic.channel)
    elif not topic.join(subscription, recovered.position):
        node.heal(topic)


def _goes_on(topic: Topic, subscription: Subscription, page: Page, recovered: Recovered) -> bool:
    """Tell whether what was read continues what the client has, to where the topic goes on from."""
    if not recovered.whole or page.top.epoch != subscription.position.epoch:
        return False
    return recovered.follows or not topic.is_past(recovered.position)


async def _again(session: Session, channel: str) -> None:
    await asyncio.sleep(RETRY_SECONDS)
    session.catch_up(channel)
