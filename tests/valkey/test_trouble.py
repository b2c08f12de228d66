"""Trouble: what the sender of a command knows of its fate."""

from __future__ import annotations

from openline.valkey.trouble import AccessDenied, Refused, Unanswered, Unsent


def test_a_refusal_is_known_by_its_first_word() -> None:
    """The code of an error is what decides; the rest is for people."""
    assert Refused("MOVED 1 host:2").code == "MOVED"
    assert Refused("LOADING").code == "LOADING"


def test_who_is_not_let_in_has_sent_nothing() -> None:
    """It is safe to say that nothing was done; of what was sent and not answered it is not."""
    assert issubclass(AccessDenied, Unsent)
    assert not issubclass(Unanswered, Unsent)
