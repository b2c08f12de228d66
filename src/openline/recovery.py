"""What a subscriber that comes back is told: everything it missed, in order, once, or that it was not recovered.

A recovery succeeds if the asked offset is the stream's top, or the predecessor of the first entry that history still
holds. What is too much for one reply comes in parts, at the pace in which the client reads; see `catching_up.py`.

Reading history waits; deciding does not. What arrives live between the two is in the topic's tail, and the decision
takes it in: so it is made in the call that queues the reply.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from openline.brokers.base import Broker, Page
from openline.errors import OpenlineError
from openline.options import AS_DECLARED, ChannelOptions, History, Limits, Override, Recovery
from openline.protocol.messages import SubscribeRequest
from openline.publication import Position, Publication
from openline.reduction import EVERYTHING, Reduction


class Wish(msgspec.Struct, frozen=True):
    """What a subscriber gets of positions, after its request and the channel's options."""

    mode: Recovery
    recoverable: bool
    asked: Position | None  #: where the client says it stands; None when it does not recover
    reduction: Reduction = EVERYTHING
    quoted: bool = False  #: payloads go to the client as JSON strings, and are as much longer


class Recovered(msgspec.Struct, frozen=True):
    """The answer to a wish."""

    whole: bool  #: everything missed is here, or follows
    publications: list[Publication]  #: oldest first; empty unless whole
    position: Position  #: where the client stands once it has them
    follows: bool = False  #: there is more: the first part is here


class BrokenTail(OpenlineError):
    """What arrived live does not continue what history held: the broker broke its promise."""


def wish_of(
    request: SubscribeRequest,
    options: ChannelOptions,
    override: Override = AS_DECLARED,
    reduction: Reduction = EVERYTHING,
    *,
    quoted: bool = False,
) -> Wish | None:
    """Say what of positions a request gets; None where the subscription has none."""
    if options.history is None:
        return None
    forced = options.recovery != "asked" if override.force_recovery is None else override.force_recovery
    recoverable = forced or request.recoverable or request.recover
    if not (recoverable or request.positioned or override.force_positioning):
        return None
    asked = Position(request.epoch, request.offset) if request.recover and recoverable else None
    return Wish(options.recovery, recoverable, asked, reduction, quoted)


async def read(broker: Broker, channel: str, history: History, limits: Limits, wish: Wish) -> Page:
    """Read of history what deciding on a wish takes."""
    if wish.asked is None:
        return await broker.history(channel, history=history, limit=0)
    if wish.mode == "cache":
        # With a filter the newest that passes it is wanted, which may lie behind others.
        limit = 1 if wish.reduction.filter is None else limits.recovery_publications
        page = await broker.history(channel, history=history, limit=limit, reverse=True)
        return Page(page.publications[::-1], page.top)
    # A gap too long for the limit is seen as such: what is read then does not reach the top, and more is read later.
    return await broker.history(channel, history=history, since=wish.asked, limit=limits.recovery_publications)


def decide(wish: Wish, page: Page, tail: Sequence[Publication], limits: Limits) -> Recovered:
    """Decide on a wish.

    Args:
        page: what `read` gave.
        tail: what arrived at the topic since before the reading.
    Raises:
        BrokenTail: there is a hole between the two.
    """
    asked = wish.asked
    if asked is None:
        return Recovered(False, [], join_tail(page, tail)[1])
    if wish.mode == "cache":
        return _newest(wish, asked, *join_tail(page, tail))
    if asked.epoch not in ("", page.top.epoch):
        return Recovered(False, [], join_tail(page, tail)[1])
    return advance(asked.offset, page, tail, limits, quoted=wish.quoted)


def _newest(wish: Wish, asked: Position, publications: Sequence[Publication], top: Position) -> Recovered:
    """Give the newest of what is wanted, unless the client has it. Where none is kept the client is not recovered."""
    wanted = wish.reduction.wanted(publications)[-1:]
    if not wanted or publications[-1].offset != top.offset:
        return Recovered(False, [], top)
    known = asked.epoch == top.epoch and wanted[0].offset <= asked.offset <= top.offset
    return Recovered(True, [] if known else list(wanted), top)


def advance(offset: int, page: Page, tail: Sequence[Publication], limits: Limits, *, quoted: bool = False) -> Recovered:
    """Bring who stands at an offset to the top, or, where that is too far for one step, towards it.

    Args:
        page: of the same epoch, read from that offset on.
        tail: as for `decide`.
        quoted: as in `Wish`.
    Raises:
        BrokenTail: there is a hole between the two.
    """
    reached = _chain(offset, page.publications)
    if reached is not None and page.publications and reached != page.top.offset:
        return _part(page, page.publications, limits, quoted=quoted)  # more was missed than is read at a time
    publications, top = join_tail(page, tail)
    if _chain(offset, publications) != top.offset:
        return Recovered(False, [], top)
    size = sum(_size(publication, quoted=quoted) for publication in publications)
    if len(publications) > limits.recovery_publications or size > limits.outbox_bytes // 2:
        return _part(page, publications, limits, quoted=quoted)
    return Recovered(True, publications, top)


def _part(page: Page, publications: Sequence[Publication], limits: Limits, *, quoted: bool) -> Recovered:
    """Take of what follows each other as much as leaves room for whatever else the client is sent meanwhile."""
    size, count = 0, 0
    while count < len(publications) and (not count or size < limits.outbox_bytes // 4):
        size += _size(publications[count], quoted=quoted)
        count += 1
    count = min(count, limits.recovery_publications)
    part = list(publications[:count])
    return Recovered(True, part, Position(page.top.epoch, part[-1].offset), follows=True)


def _size(publication: Publication, *, quoted: bool) -> int:
    """Say what a publication takes on the wire at most: a patch, where there is one, is shorter."""
    size = publication.size_bytes
    return size + publication.data.count(b'"') + publication.data.count(b"\\") if quoted else size


def join_tail(page: Page, tail: Sequence[Publication]) -> tuple[list[Publication], Position]:
    """Put what arrived live behind what history held; what is in both counts once.

    Returns:
        The publications, and the position after the last of them.
    Raises:
        BrokenTail: there is a hole between the two.
    """
    publications, top = list(page.publications), page.top
    for publication in tail:
        if publication.epoch != top.epoch or publication.offset <= top.offset:
            continue
        if publication.previous != top.offset:
            raise BrokenTail(f"history ends at {top}, and what arrived next follows {publication.previous}")
        publications.append(publication)
        top = Position(publication.epoch, publication.offset)
    return publications, top


def _chain(offset: int, publications: Sequence[Publication]) -> int | None:
    """Follow the predecessors from an offset; give the last offset, None where there is a hole."""
    for publication in publications:
        if publication.previous != offset:
            return None
        offset = publication.offset
    return offset
