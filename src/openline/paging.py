"""What a client that asks for history is given: a page of it, bounded in publications and in bytes."""

from __future__ import annotations

from openline.errors import BadRequest, NotAvailable, UnrecoverablePosition
from openline.membership import check_fit
from openline.node import Node
from openline.options import ChannelOptions
from openline.protocol.messages import HistoryRequest, HistoryResult
from openline.protocol.pushes import pub_messages
from openline.publication import Position, Publication
from openline.session import Session


async def read_history(node: Node, session: Session, request: HistoryRequest, options: ChannelOptions) -> HistoryResult:
    """Read a page.

    Raises:
        BadRequest: in reverse there is nothing before offset 0.
        UnrecoverablePosition: the stream the client knows is gone.
    """
    if options.history is None:
        raise NotAvailable
    since = None if request.since is None else Position(request.since.epoch, request.since.offset)
    if since is not None and request.reverse and not since.offset:
        raise BadRequest("in reverse, since.offset has to be 1 or more")
    most = node.limits.history_publications
    limit = most if request.limit < 0 else min(request.limit, most)
    page = await node.broker.history(
        request.channel, history=options.history, since=since, limit=limit, reverse=request.reverse
    )
    if since is not None and since.epoch not in ("", page.top.epoch):
        raise UnrecoverablePosition
    publications = _fitting(page.publications, node.limits.outbox_bytes // 2)
    check_fit(session, options, publications)
    return HistoryResult(publications=pub_messages(publications), epoch=page.top.epoch, offset=page.top.offset)


def _fitting(publications: list[Publication], limit_bytes: int) -> list[Publication]:
    """Cut a page that no outbox could hold; the client asks on from its last publication."""
    size = 0
    for count, publication in enumerate(publications):
        size += len(publication.data)
        if size > limit_bytes and count:
            return publications[:count]
    return publications
