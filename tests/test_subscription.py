"""Audiences: who gets the same bytes, and for how long they are kept."""

from __future__ import annotations

import gc

from openline import subscription
from openline.filters import filter_of
from openline.protocol.messages import FilterNode
from openline.reduction import Reduction
from openline.subscription import Audience, audience
from tests.engine import JSON_MESSAGES


def choosing(colour: str) -> Audience:
    """Give the audience of a filter, as a client brings it."""
    wanted = filter_of(FilterNode(key="colour", cmp="eq", val=colour))
    return audience(JSON_MESSAGES, reduction=Reduction(filter=wanted))


def test_who_wishes_the_same_is_one_audience() -> None:
    """Compared by identity, it decides who shares bytes."""
    red = choosing("red")
    assert choosing("red") is red
    assert choosing("blue") is not red
    assert audience(JSON_MESSAGES) is audience(JSON_MESSAGES)
    assert audience(JSON_MESSAGES, join_leave=True) is not audience(JSON_MESSAGES)
    assert audience(JSON_MESSAGES, reduction=Reduction(delta=True)) is not audience(JSON_MESSAGES)


def test_audiences_nobody_is_in_are_forgotten() -> None:
    """Of filters there are as many as clients make up."""
    gc.collect()
    before = len(subscription._audiences)
    held = [choosing(str(number)) for number in range(100)]
    assert len(subscription._audiences) == before + 100
    held.clear()
    gc.collect()
    assert len(subscription._audiences) == before
