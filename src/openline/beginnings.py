"""What a connection begins with: where the server puts it, and what a client that only listens asks for."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Final, NamedTuple

import msgspec

from openline import codes
from openline.application import Admission, Application, Rules, Welcome, declared
from openline.errors import BadRequest, Disconnect, NotAvailable
from openline.node import Node
from openline.options import Override
from openline.protocol.messages import ConnectRequest, SubscribeRequest
from openline.protocol.unidirectional import Opening
from openline.reduction import reduction_of
from openline.session import Session

#: One that only looks is neither seen nor announced, and always has positions.
_QUIET: Final = Override(presence=False, join_leave=False, force_recovery=True)


class Beginning(NamedTuple):
    """One channel a connection begins with."""

    rules: Rules
    wish: SubscribeRequest
    admission: Admission


async def beginnings(
    node: Node,
    application: Application,
    session: Session,
    request: ConnectRequest,
    welcome: Welcome,
    asked: MutableMapping[str, tuple[Rules, SubscribeRequest]],
) -> dict[str, Beginning]:
    """Say what a connection begins with, and ask the app about what its client asks for.

    Args:
        asked: each channel that the app was asked about and said yes to is put in there, with what was asked.
    Raises:
        Disconnect: these are more channels than a session may have (3505), or one is asked for in a way there is not.
        Refusal: one of them is not to be had, so none is.
    """
    own = request.subs if isinstance(request, Opening) else {}
    quiet = isinstance(request, Opening) and request.quiet
    granted = {channel: each for channel, each in welcome.channels.items() if not quiet or channel in own}
    _count(node, session, granted, own)
    begun: dict[str, Beginning] = {}
    for channel, admission in granted.items():
        rules = declared(application, channel, name_length=node.limits.name_length)
        begun[channel] = Beginning(rules, _wish(request, channel), admission)
    for channel in own:
        if channel in begun:
            continue
        rules = declared(application, channel, name_length=node.limits.name_length)
        wish = _wish(request, channel)
        reduction_of(wish, rules.options)  # before the app is asked
        if wish.type:
            raise BadRequest("only stream subscriptions are offered")
        admission = await rules.admit(session, channel, wish)
        asked[channel] = rules, wish
        # Who only listens has no way to send a new token.
        begun[channel] = Beginning(rules, wish, msgspec.structs.replace(admission, client_refresh=False))
    return {channel: _quieted(channel, each) for channel, each in begun.items()} if quiet else begun


def _count(node: Node, session: Session, granted: Mapping[str, Admission], own: Mapping[str, SubscribeRequest]) -> None:
    limit = node.limits.channels
    count = len(granted) + sum(channel not in granted for channel in own)
    if count > limit:
        words = "session %s of user %r was to begin with more channels (%d) than Limits.channels: closed with 3505"
        node.notices.take("subscriptions_refused", words, session.id, session.user, count)
        raise Disconnect(codes.CLOSED_CHANNEL_LIMIT)


def _wish(request: ConnectRequest, channel: str) -> SubscribeRequest:
    return request.wish(channel) if isinstance(request, Opening) else request.subs.get(channel, SubscribeRequest())


def _quieted(channel: str, beginning: Beginning) -> Beginning:
    if beginning.rules.options.history is None:
        raise NotAvailable(f"channel {channel} keeps no history")
    admission = msgspec.structs.replace(beginning.admission, override=_QUIET)
    return beginning._replace(admission=admission)
