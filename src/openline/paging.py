"""What one that asks for history is given: a page of it, for a client bounded in publications and in bytes."""

from __future__ import annotations

from openline.brokers.base import Page
from openline.errors import BadRequest, NotAvailable, UnrecoverablePosition
from openline.membership import check_fit
from openline.node import Node
from openline.options import ChannelOptions
from openline.protocol.messages import HistoryRequest, HistoryResult
from openline.protocol.pushes import pub_messages
from openline.publication import Position, Publication
from openline.session import Session


async def read_history(node: Node, session: Session, request: HistoryRequest, options: ChannelOptions) -> HistoryResult:
    """Read what a client asks for.

    Raises:
        NotAvailable, BadRequest, UnrecoverablePosition: as `read_page`.
        Disconnect: the client's codec cannot carry it.
    """
    since = None if request.since is None else Position(request.since.epoch, request.since.offset)
    most = node.limits.history_publications
    limit = most if request.limit < 0 else min(request.limit, most)
    page = await read_page(node, request.channel, options, since=since, limit=limit, reverse=request.reverse)
    publications = _fitting(page.publications, node.limits.outbox_bytes // 2)
    check_fit(session, options, publications)
    return HistoryResult(publications=pub_messages(publications), epoch=page.top.epoch, offset=page.top.offset)


async def read_page(
    node: Node, channel: str, options: ChannelOptions, *, since: Position | None, limit: int, reverse: bool
) -> Page:
    """Read a page; see `Broker.history`.

    Raises:
        NotAvailable: the channel keeps no history.
        BadRequest: in reverse there is nothing before offset 0.
        UnrecoverablePosition: the stream the asker knows is gone.
    """
    if options.history is None:
        raise NotAvailable
    if since is not None and reverse and not since.offset:
        raise BadRequest("in reverse, since.offset has to be 1 or more")
    page = await node.broker.history(channel, history=options.history, since=since, limit=limit, reverse=reverse)
    if since is not None and since.epoch not in ("", page.top.epoch):
        raise UnrecoverablePosition
    return page


def _fitting(publications: list[Publication], limit_bytes: int) -> list[Publication]:
    """Cut a page that no outbox could hold; the client asks on from its last publication."""
    size = 0
    for count, publication in enumerate(publications):
        size += publication.size_bytes
        if size > limit_bytes and count:
            return publications[:count]
    return publications
