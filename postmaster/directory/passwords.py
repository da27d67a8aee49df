"""Passwords and their hashes, as Dovecot stores them: `{SCHEME}hash`.

New passwords become argon2id with parameters for a small server: 19 MiB and two passes (OWASP's
second recommendation), some 30 ms each; `dovecot/` sizes its auth workers for that memory. Hashes
from elsewhere are kept as they are where Dovecot 2.3 and 2.4 know the scheme and it is one-way.

What passlib and argon2 cost to import is paid only by the functions that need them.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import unicodedata
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from postmaster.errors import PasswordError

if TYPE_CHECKING:
    from concurrent.futures import Future

Given = TypeVar("Given")
Made = TypeVar("Made")

MINIMUM_CHARACTERS = 8
MAXIMUM_OCTETS = 1024  # Dovecot's login processes read at most 1 KiB
MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1
OURS = "{ARGON2ID}"  # what the hashes made here begin with

_B64 = r"[A-Za-z0-9+/]"
_CRYPT64 = r"[./A-Za-z0-9]"
# crypt(3) makes salts of the same characters, and takes more of them: PostfixAdmin's have a plus.
_SALT = r"""["#%-)+-9<-\[\]-~]"""
_ARGON2 = rf"\$argon2%s\$v=19\$m=\d{{1,7}},t=\d{{1,3}},p=\d{{1,2}}\${_B64}{{11,86}}\${_B64}{{22,172}}"
_SALTED = rf"{_B64}{{%d,256}}={{0,2}}"
_SCRAM = rf"\d{{1,7}},{_B64}+={{0,2}},{_B64}+={{0,2}},{_B64}+={{0,2}}"

#: Scheme -> what a hash of it looks like. Not here, so refused: everything that gives the password
#: away (PLAIN, CLEARTEXT, PLAIN-TRUNC, CRAM-MD5, DIGEST-MD5 and other equivalents), unsalted
#: digests (SHA, MD5, LDAP-MD5).
_SCHEMES: dict[str, str] = {
    "ARGON2ID": _ARGON2 % "id",
    "ARGON2I": _ARGON2 % "i",
    "BLF-CRYPT": rf"\$2[aby]\$\d\d\${_CRYPT64}{{53}}",
    "SHA512-CRYPT": rf"\$6\$(?:rounds=\d{{4,9}}\$)?{_SALT}{{1,16}}\${_CRYPT64}{{86}}",
    "SHA256-CRYPT": rf"\$5\$(?:rounds=\d{{4,9}}\$)?{_SALT}{{1,16}}\${_CRYPT64}{{43}}",
    "MD5-CRYPT": rf"\$1\${_SALT}{{1,8}}\${_CRYPT64}{{22}}",
    "PBKDF2": r"\$1\$[!-#%-~]{1,64}\$\d{1,7}\$[0-9a-fA-F]{40}",
    "SSHA512": _SALTED % 90,
    "SSHA256": _SALTED % 46,
    "SSHA": _SALTED % 30,
    "SCRAM-SHA-256": _SCRAM,
    "SCRAM-SHA-1": _SCRAM,
}
#: A crypt(3) text tells its scheme by its prefix, so `{CRYPT}` or no prefix at all is enough.
_CRYPT_PREFIXES = {
    "$argon2id$": "ARGON2ID",
    "$argon2i$": "ARGON2I",
    "$2": "BLF-CRYPT",
    "$6$": "SHA512-CRYPT",
    "$5$": "SHA256-CRYPT",
    "$1$": "MD5-CRYPT",
}
_COST = re.compile(r"\{ARGON2ID\}\$argon2id\$v=19\$m=(\d+),t=(\d+),p=\d\$")
_AHEAD = 100  # passwords that wait to be hashed


def check_password(text: str) -> str:
    """The password in the form that is hashed: NFC (RFC 8265, OpaqueString). Raises PasswordError.

    A message never repeats the password.
    """
    normal = unicodedata.normalize("NFC", text)
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in normal):
        raise PasswordError("the password has control characters in it")
    if len(normal) < MINIMUM_CHARACTERS:
        raise PasswordError(
            f"the password is shorter than {MINIMUM_CHARACTERS} characters",
            hint="--generate makes a good one",
        )
    if len(normal.encode()) > MAXIMUM_OCTETS:
        raise PasswordError(f"the password is longer than {MAXIMUM_OCTETS} octets")
    return normal


def hash_password(text: str) -> str:
    """`{ARGON2ID}$argon2id$…` of a password that `check_password` accepts. Raises PasswordError."""
    hashed: str = _argon2id().hash(check_password(text))
    return OURS + hashed


def hash_many(texts: Sequence[str]) -> Generator[str, None, None]:
    """The hash of each password, in order, worked out on every processor.

    To be closed where not all of them are taken. Raises PasswordError at the first that is none.
    """
    return _on_every_processor(hash_password, texts)


def match_many(pairs: Sequence[tuple[str, str]]) -> Generator[bool, None, None]:
    """`matches` of each pair, in order, worked out on every processor. To be closed as `hash_many` is."""
    return _on_every_processor(lambda pair: matches(*pair), pairs)


def _on_every_processor(work: Callable[[Given], Made], given: Iterable[Given]) -> Generator[Made, None, None]:
    from concurrent.futures import ThreadPoolExecutor  # argon2 leaves the interpreter to others meanwhile

    _argon2id()  # loaded once, before the threads: passlib.hash fails where two load from it at a time
    pool = ThreadPoolExecutor(max_workers=os.cpu_count())
    try:
        waiting: deque[Future[Made]] = deque()
        for one in given:
            waiting.append(pool.submit(work, one))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def clear_text(text: str) -> str | None:
    """The password in `{PLAIN}password` or `{CLEARTEXT}password`, as Dovecot writes it; None for all else."""
    match = re.match(r"\{(?:PLAIN|CLEARTEXT)\}", text, re.IGNORECASE)
    return None if match is None else text[match.end() :]


def matches(text: str, stored: str) -> bool:
    """Whether a hash is known to be of this password; others than argon2id of a usual cost are not asked."""
    found = _COST.match(stored)
    if found is None or int(found[1]) > 4 * MEMORY_KIB or int(found[2]) > 4 * PASSES:
        return False
    try:
        return verify(text, stored)
    except ValueError:  # of a salt or digest that is too short to be one
        return False


def verify(text: str, stored: str) -> bool:
    """Whether the password is the one that an argon2id hash of ours was made from."""
    if not stored.startswith(OURS):
        scheme = stored.partition("}")[0].lstrip("{")
        raise PasswordError(f"hashes of scheme {scheme} are verified by Dovecot alone")
    return bool(_argon2id().verify(unicodedata.normalize("NFC", text), stored.removeprefix(OURS)))


def check_hash(text: str) -> str:
    """A hash from elsewhere as `{SCHEME}hash`, with a scheme that Dovecot knows. Raises PasswordError."""
    match = re.fullmatch(r"(?:\{([A-Za-z0-9.-]{1,32})\})?([!-~]{1,512})", text)
    if match is None:
        raise PasswordError("that is no password hash", hint="expected {SCHEME}hash on one line")
    scheme, hashed = _unpacked((match[1] or "").upper(), match[2])
    if scheme in ("", "CRYPT"):
        scheme = next((s for prefix, s in _CRYPT_PREFIXES.items() if hashed.startswith(prefix)), "")
        if not scheme:
            raise PasswordError(
                "the hash does not say which scheme it is of", hint="put it before the hash: {SSHA512}…"
            )
    if scheme not in _SCHEMES:
        raise PasswordError(
            f"hashes of scheme {scheme} are not stored", hint="one of " + ", ".join(sorted(_SCHEMES))
        )
    if re.fullmatch(_SCHEMES[scheme], hashed) is None:
        raise PasswordError(f"that is no hash of scheme {scheme}")
    return f"{{{scheme}}}{hashed}"


def _unpacked(scheme: str, text: str) -> tuple[str, str]:
    """The plain form of a crypt(3) text in base64, as PostfixAdmin writes it: {SHA512-CRYPT.B64}."""
    plain = scheme.removesuffix(".B64").removesuffix(".BASE64")
    if plain == scheme or not plain.endswith("CRYPT"):
        return scheme, text
    try:
        return plain, base64.b64decode(text, validate=True).decode("ascii")
    except ValueError:
        raise PasswordError(f"that is no hash of scheme {scheme}") from None


def generate_password() -> str:
    """A random password of 125 bits that is safe to type: five groups without look-alikes."""
    alphabet = "abcdefghijkmnpqrstuvwxyz23456789"  # 32 characters, 5 bits each
    return "-".join("".join(secrets.choice(alphabet) for _ in range(5)) for _ in range(5))


@cache
def _argon2id() -> Any:
    from passlib.hash import argon2  # type: ignore[import-untyped]

    return argon2.using(type="ID", memory_cost=MEMORY_KIB, time_cost=PASSES, parallelism=LANES)
