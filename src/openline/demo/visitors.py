"""Who a visitor is: a name of their choice, an id of ours, both in a signed token.

A token runs out after a while, as tokens should, and the page fetches the next one by itself. It shows the old one then
and so keeps its id: nobody can ask for the id of somebody else.
"""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Final

import jwt
from fastapi import APIRouter, Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, StringConstraints

#: Made anew at each start: the chat forgets its visitors when it forgets its messages.
SECRET: Final = secrets.token_urlsafe(32)

ALGORITHM: Final = "HS256"
TOKEN_SECONDS: Final = 15 * 60

router = APIRouter()
earlier_token = HTTPBearer(auto_error=False, description="the token that ran out, by one who has been here")


class Visitor(BaseModel):
    """What somebody at the door says."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=32)]


class Pass(BaseModel):
    """What they are given."""

    token: str
    user: str
    name: str


@router.post("/token")
async def token(
    visitor: Visitor, earlier: Annotated[HTTPAuthorizationCredentials | None, Depends(earlier_token)]
) -> Pass:
    """Give a token for the hub to a visitor, new or known."""
    user = (known_user(earlier.credentials) if earlier else None) or secrets.token_hex(8)
    claims = {"sub": user, "exp": int(time.time()) + TOKEN_SECONDS, "info": {"name": visitor.name}}
    return Pass(token=jwt.encode(claims, SECRET, ALGORITHM), user=user, name=visitor.name)


def known_user(earlier: str) -> str | None:
    """The user of a token that we made, run out or not; ``None`` for any other."""
    try:
        claims = jwt.decode(earlier, SECRET, [ALGORITHM], options={"verify_exp": False, "require": ["sub"]})
    except jwt.InvalidTokenError:
        return None
    return str(claims["sub"])
