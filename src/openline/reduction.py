"""How a subscriber is sent less than everything: patches instead of payloads, or only what it wants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from openline import codes
from openline.errors import BadRequest, Disconnect
from openline.filters import Filter, filter_of
from openline.options import ChannelOptions
from openline.protocol.codec import Codec
from openline.protocol.delta import Patches
from openline.protocol.messages import Pub, SubscribeRequest
from openline.protocol.pushes import delta_messages, pub_messages
from openline.publication import Publication

#: The kinds of delta that a request can ask for; "" is none.
DELTAS: Final = ("", "fossil")


class Reduction(NamedTuple):
    """What was granted of it to a subscription."""

    delta: bool = False  #: patches where the subscriber has what is patched
    filter: Filter | None = None  #: which publications it wants; None for all

    def wanted(self, publications: Sequence[Publication]) -> Sequence[Publication]:
        """Give those that pass the filter."""
        wanted = self.filter
        return publications if wanted is None else [each for each in publications if wanted.matches(each.tags)]

    def is_quoted(self, codec: Codec) -> bool:
        """Tell whether payloads go out as JSON strings, which are longer than what is in them."""
        return self.delta and not codec.binary

    def messages(self, publications: Sequence[Publication], codec: Codec, patches: Patches) -> list[Pub]:
        """Say wanted publications to a subscriber, whatever it was sent before: the first is whole."""
        return list(delta_messages(publications, codec, patches)) if self.delta else pub_messages(publications)


#: Every publication, and whole.
EVERYTHING: Final = Reduction()


def reduction_of(request: SubscribeRequest, options: ChannelOptions) -> Reduction:
    """Say what a request gets. Deltas that a channel does not offer are not granted; a filter is or the request fails.

    Raises:
        Disconnect: a kind of delta is asked for that there is not (3501).
        BadRequest: the filter is none or too large, the channel offers none, or it is to go with deltas.
    """
    if request.delta not in DELTAS:
        raise Disconnect(codes.CLOSED_BAD_REQUEST)
    if request.tf is None:
        return Reduction(options.delta and bool(request.delta), None)
    if not options.filters:
        raise BadRequest("tag filters are not offered in this channel")
    if request.delta:
        # What was filtered out would be missing where a patch is applied.
        raise BadRequest("a tag filter and delta exclude each other")
    return Reduction(False, filter_of(request.tf))
