"""Signed tokens in their compact form (JWS): which keys there are, and whether one of them signed a token.

Invariants of this file:

1. A key decides which algorithms it is used with, never the token: a secret knows HS only, a public key only those of
   its kind and curve, and ``none`` belongs to no key. So a public key is never taken for a secret.
2. No error here says anything of a token or a key beyond its size.

Source: RFC 7515 (JWS), RFC 7518 (algorithms), RFC 8037 (EdDSA).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final, final

import jwt
import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from openline.errors import DeclarationError, OpenlineError

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

_HMAC: Final = ("HS256", "HS384", "HS512")
_RSA: Final = ("RS256", "RS384", "RS512")
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_EDWARDS: Final = "EdDSA"

#: Every algorithm a token may be signed with.
ALGORITHMS: Final = (*_HMAC, *_RSA, *_CURVES.values(), _EDWARDS)

#: Below this a key can be found by trying: RFC 7518, sections 3.2 and 3.3.
_SAFE_SECRET_BYTES: Final = {"HS256": 32, "HS384": 48, "HS512": 64}
_SAFE_RSA_BITS: Final = 2048


class NotSigned(OpenlineError):
    """A token is none that one of the keys signed; the message says why, for the client too."""


class _Header(msgspec.Struct):
    """What is read of a token's header."""

    alg: str
    crit: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    b64: bool = True


_header: Final = msgspec.json.Decoder(_Header)


@final
class Key:
    """One key, with the algorithms it may be used with.

    Made by `secret_key`, `public_key` and `private_key`.
    """

    __slots__ = ("_algorithms", "_material", "option", "weakness")

    def __init__(self, option: str, material: Any, algorithms: Sequence[str], weakness: str = "") -> None:
        self.option = option  #: which option of the app's it came from
        self.weakness = weakness  #: why it is not safe; "" if it is
        self._material = material
        self._algorithms = {name: jwt.get_algorithm_by_name(name) for name in algorithms}

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms, the one to sign with first."""
        return tuple(self._algorithms)

    def made(self, signature: bytes, signed: bytes, algorithm: str) -> bool:
        """Tell whether this key made a signature with this algorithm."""
        known = self._algorithms.get(algorithm)
        return known is not None and known.verify(signed, self._material, signature)

    def sign(self, payload: bytes) -> str:
        """Make a token; the key has to be a secret or private."""
        name, algorithm = next(iter(self._algorithms.items()))
        header = msgspec.json.encode({"typ": "JWT", "alg": name})
        signed = _encode(header) + b"." + _encode(payload)
        return (signed + b"." + _encode(algorithm.sign(signed, self._material))).decode()


def secret_key(option: str, secret: object, allowed: Sequence[str] | None) -> Key:
    """Make a key of a shared secret, for HS256, HS384 and HS512.

    Args:
        option: the name to call it by in errors.
        secret: text or bytes.
        allowed: the algorithms to choose from, best first; None: all.
    Raises:
        DeclarationError: it is empty, is a public key, or none of its algorithms is allowed.
    """
    if not isinstance(secret, str | bytes):
        raise DeclarationError(f"{option} is a {type(secret).__name__}: a secret is str or bytes")
    if not secret:
        raise DeclarationError(f"{option} is empty: anybody could sign with it")
    algorithms = _allowed(option, _HMAC, allowed)
    try:
        material = jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except jwt.InvalidKeyError as error:
        raise DeclarationError(f"{option} cannot be a secret: {error}") from None
    weakness = ""
    safe_bytes = min(_SAFE_SECRET_BYTES[algorithm] for algorithm in algorithms)
    if len(material) < safe_bytes:
        weakness = f"{len(material)} bytes can be guessed: use {safe_bytes} or more, as of secrets.token_hex(32)"
    return Key(option, material, algorithms, weakness)


def public_key(option: str, public: object, allowed: Sequence[str] | None) -> Key:
    """Make a key that verifies: RSA for RS256, RS384 and RS512, a NIST curve for its ES, an Edwards curve for EdDSA.

    Args:
        option: the name to call it by in errors.
        public: in PEM, a certificate in PEM, or an object of `cryptography`.
        allowed: the algorithms to choose from; None: all.
    Raises:
        DeclarationError: it is no such key, or none of its algorithms is allowed.
    """
    material = _load_public(option, public) if isinstance(public, str | bytes) else public
    if isinstance(material, PrivateKey):
        raise DeclarationError(f"{option} is a private key: give it as private_key, or give its public half")
    if not isinstance(material, PublicKey):
        raise DeclarationError(f"{option} is a {type(material).__name__}: no public key that tokens are signed for")
    return _asymmetric(option, material, material, allowed)


def private_key(option: str, private: object, allowed: Sequence[str] | None) -> tuple[Key, Key]:
    """Make the keys that sign and verify, of a private key: PEM without a password, or an object of `cryptography`.

    Raises:
        DeclarationError: it is no such key, or none of its algorithms is allowed.
    """
    material: object = private
    if isinstance(private, str | bytes):
        try:
            material = load_pem_private_key(_pem(private), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise DeclarationError(f"{option} is no private key in PEM without a password") from None
    if not isinstance(material, PrivateKey):
        raise DeclarationError(f"{option} is a {type(material).__name__}: no private key that signs tokens")
    public = material.public_key()
    return _asymmetric(option, material, public, allowed), _asymmetric(option, public, public, allowed)


def verified(token: str, keys: Sequence[Key]) -> str:
    """Give the payload of a token that one of the keys signed.

    Raises:
        NotSigned: none did, or it is no token at all.
    """
    signed, _, signature = token.rpartition(".")
    header, _, payload = signed.partition(".")
    try:
        head = _header.decode(_decode(header).decode())
        text = _decode(payload).decode()
        made = _decode(signature)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        raise NotSigned("it is not a signed token") from None
    # Who lists extensions as critical wants those refused that do not know them; we know none.
    if head.crit is not msgspec.UNSET or not head.b64:
        raise NotSigned("it asks for an extension that is not known here")
    if not any(head.alg in key.algorithms for key in keys):
        raise NotSigned("it is signed with an algorithm that is not accepted here")
    if not any(key.made(made, signed.encode(), head.alg) for key in keys):
        raise NotSigned("its signature is not by a key that is known here")
    return text


def _asymmetric(option: str, material: PrivateKey | PublicKey, public: PublicKey, allowed: Sequence[str] | None) -> Key:
    weakness = ""
    if isinstance(public, rsa.RSAPublicKey):
        algorithms: tuple[str, ...] = _RSA
        if public.key_size < _SAFE_RSA_BITS:
            weakness = f"{public.key_size} bits of RSA can be broken: use {_SAFE_RSA_BITS} or more"
    elif isinstance(public, ec.EllipticCurvePublicKey):
        if public.curve.name not in _CURVES:
            raise DeclarationError(f"{option} is on the curve {public.curve.name}: only {', '.join(_CURVES)} are known")
        algorithms = (_CURVES[public.curve.name],)
    else:
        algorithms = (_EDWARDS,)
    return Key(option, material, _allowed(option, algorithms, allowed), weakness)


def _allowed(option: str, possible: Sequence[str], allowed: Sequence[str] | None) -> Sequence[str]:
    if allowed is None:
        return possible
    both = [algorithm for algorithm in allowed if algorithm in possible]
    if not both:
        raise DeclarationError(
            f"{option} is for {', '.join(possible)}, and algorithms allows only {', '.join(allowed)}"
        )
    return both


def _load_public(option: str, text: str | bytes) -> object:
    pem = _pem(text)
    try:
        if pem.startswith(b"-----BEGIN CERTIFICATE"):
            return x509.load_pem_x509_certificate(pem).public_key()
        if b"PRIVATE KEY" in pem.partition(b"\n")[0]:
            raise DeclarationError(f"{option} is a private key: give it as private_key, or give its public half")
        return load_pem_public_key(pem)
    except DeclarationError:
        raise
    except (ValueError, UnsupportedAlgorithm):
        raise DeclarationError(f"{option} is no public key or certificate in PEM") from None


def _pem(text: str | bytes) -> bytes:
    return (text.encode() if isinstance(text, str) else text).strip()


def _encode(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _decode(part: str) -> bytes:
    """Read a part of a token, which has one spelling only.

    Raises:
        ValueError: it is spelled otherwise.
    """
    encoded = part.encode("ascii")
    raw = binascii.a2b_base64(encoded.translate(_STANDARD) + b"=" * (-len(encoded) % 4))
    if not raw or _encode(raw) != encoded:
        raise ValueError("not base64url")
    return raw


_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
