"""What handlers return to let a client in: checked when it is made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from openline import Accept, Allow, DeclarationError, Override, Publish


def test_by_itself_it_says_nothing() -> None:
    """An anonymous user without anything, for ever."""
    assert (Accept().user, Accept().channels, Accept().expires_at) == ("", (), None)
    assert (Allow().info, Allow().data, Allow().expires_at) == (None, None, None)


@pytest.mark.parametrize("kind", [Accept, Allow])
def test_an_expiry_is_unix_seconds_or_a_moment_with_its_time_zone(kind: Any) -> None:
    """A moment without one would mean another moment on another machine."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    assert kind(expire_at=noon.timestamp()).expires_at == noon.timestamp()
    assert kind(expire_at=noon).expires_at == noon.timestamp()
    assert kind(expire_at=noon.astimezone(timezone(timedelta(hours=5)))).expires_at == noon.timestamp()
    with pytest.raises(DeclarationError, match=f"{kind.__name__}.expire_at"):
        kind(expire_at=datetime(2026, 1, 1, 12))  # noqa: DTZ001


@pytest.mark.parametrize("kind", [Accept, Allow])
@pytest.mark.parametrize("expiry", [True, False])
def test_an_expiry_is_no_yes_or_no(kind: Any, expiry: bool) -> None:
    """Python would take it for the first second of 1970."""
    with pytest.raises(DeclarationError, match=rf"{kind.__name__}\.expire_at is {expiry}"):
        kind(expire_at=expiry)


@pytest.mark.parametrize("user", [42, None, b"ann"])
def test_a_user_id_is_text(user: Any) -> None:
    """A number would be another user than the text of its digits."""
    with pytest.raises(DeclarationError, match=r"Accept\.user"):
        Accept(user=user)


def test_channels_are_a_list_of_names() -> None:
    """One name would be taken for a list of letters."""
    assert Accept(channels=("a", "b")).channels == ("a", "b")
    with pytest.raises(DeclarationError, match=r"Accept\.channels"):
        Accept(channels="room")


def test_subscriptions_say_more_of_each_channel() -> None:
    """By its name; what else stands there would be found out as a client connects."""
    seat = Allow(info=1, override=Override(presence=False))
    assert Accept(subscriptions={"room:a": seat}).subscriptions == {"room:a": seat}
    with pytest.raises(DeclarationError, match=r"Accept\.subscriptions\['room:a'\]"):
        Accept(subscriptions={"room:a": None})  # type: ignore[dict-item]


def test_tags_of_a_publication_are_text() -> None:
    """Every codec can carry them."""
    assert Publish("hello", tags={"lang": "en"}).tags == {"lang": "en"}
    with pytest.raises(DeclarationError, match="tags are text"):
        Publish("hello", tags={"size": 1})  # type: ignore[dict-item]


@pytest.mark.parametrize("kind", [Accept, Allow])
def test_it_does_not_change_and_is_told_apart_by_what_it_says(kind: Any) -> None:
    """A handler may keep one and return it again and again."""
    assert kind(info=1) == kind(info=1) != kind(info=2)
    with pytest.raises(AttributeError):
        kind().info = 5
