"""DKIM's keys: how strong a published one is, and whether it is the public half of the one that signs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from postmaster.health.names.records import DkimKey, Malformed

LARGEST = 65536  # bytes of a key's file that are read


def named(settings: Iterable[str], domain: str) -> dict[str, Path]:
    """Selector -> file of a domain's signing keys, from `[DOMAIN/]SELECTOR=FILE`; a domain's own wins."""
    general: dict[str, Path] = {}
    own: dict[str, Path] = {}
    for one in settings:
        name, equals, file = one.partition("=")
        where, slash, selector = name.strip().rpartition("/")
        if equals and selector and (not slash or where.lower() == domain):
            (own if slash else general)[selector] = Path(file.strip())
    return {**general, **own}


def strength(key: DkimKey) -> tuple[str, int]:
    """(rsa or ed25519, bits) of a published key. Raises Malformed."""
    public = _public(key)
    return key.kind, getattr(public, "key_size", 256)


def is_public_half(key: DkimKey, file: Path) -> bool:
    """Whether a published key belongs to the private key in a file (PEM). Raises OSError, ValueError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    with file.open("rb") as opened:
        content = opened.read(LARGEST)
    try:
        private = serialization.load_pem_private_key(content, None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from None
    return _raw(private.public_key()) == _raw(_public(key))


def _public(key: DkimKey) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    try:
        if key.kind == "ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(key.key)
        public = serialization.load_der_public_key(key.key)
    except (ValueError, UnsupportedAlgorithm):
        raise Malformed(f"its key is no {key.kind} key") from None
    if not isinstance(public, rsa.RSAPublicKey):
        raise Malformed("its key is no rsa key")
    return public


def _raw(public: object) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    made: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return made
