"""Local part, domain (A-label, U-label) and mailbox address: the one parser for everything.

What it holds: `Domain`, `LocalPart` and `Address`, immutable values that print themselves in the
form that servers look up (A-labels, lower case) and in the form for people (U-labels).

What it guarantees: `parse_*` either returns a value whose text parses again to an equal value, or
raises AddressError with one line that says what is wrong. Nothing else is ever raised.

What it does not do: SMTPUTF8 local parts (RFC 6531). Dovecot 2.3 does not take them, so they are
refused here rather than bounced later. Address literals (`user@[192.0.2.1]`) are refused as well.

Sources: RFC 5321 section 4.1.2 (grammar) and 4.5.3.1 (sizes), RFC 5890/5891 (IDNA 2008).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from postmaster.errors import AddressError

#: Splits the address extension from the user name (Postfix's `recipient_delimiter`).
EXTENSION_SEPARATOR = "+"

#: What the local part of an address *of ours* may hold, besides lower-case letters and digits. One
#: constant decides this and, through `AUTH_USERNAME_CHARS`, what Dovecot lets in at a login.
#: Left out on purpose: `%` and `!` (Postfix treats them as routing and refuses such recipients),
#: `*` and `?` (doveadm reads them as wildcards), `/` (a path), `+` (the extension separator), `$`,
#: `{`, `}`, `|` and `"` (special in the servers' configuration).
OWN_LOCAL_SYMBOLS = ".-_'&=~"
OWN_LOCAL_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789" + OWN_LOCAL_SYMBOLS

#: Dovecot's `auth_username_chars`: the above, upper case (Dovecot lower-cases after the test), `@`.
AUTH_USERNAME_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + OWN_LOCAL_CHARACTERS + "@"

LOCAL_PART_OCTETS = 64  # RFC 5321 4.5.3.1.1
DOMAIN_OCTETS = 253  # RFC 1035 2.3.4: 255 on the wire is 253 as text
ADDRESS_OCTETS = 254  # RFC 5321 4.5.3.1.3: a path of 256 less its angle brackets
LABEL_OCTETS = 63  # RFC 1035 2.3.4
INPUT_CHARACTERS = 1024  # no text longer than this is looked at

# Why \Z and not $: `$` also matches before a final newline.
_ATEXT = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]"
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*\Z")  # RFC 5321 Dot-string
_QUOTED_STRING = re.compile(r'"(?:[ !#-\[\]-~]|\\[ -~])*"\Z')  # RFC 5321 Quoted-string
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\Z")  # RFC 5321 sub-domain
_OWN_LOCAL = re.compile(rf"[{re.escape(OWN_LOCAL_CHARACTERS)}]+\Z")


@dataclass(frozen=True, slots=True, order=True)
class Domain:
    """A mail domain, held as lower-case A-labels (RFC 5890 2.3.2.1)."""

    ascii: str

    @property
    def unicode(self) -> str:
        """The same name as U-labels, for people; the A-labels where there is no U-label form."""
        if "xn--" not in self.ascii:
            return self.ascii
        import idna  # here: 8 ms that only IDN domains need

        try:
            return idna.decode(self.ascii)
        except (idna.IDNAError, UnicodeError):
            return self.ascii

    def __str__(self) -> str:
        return self.unicode


@dataclass(frozen=True, slots=True, order=True)
class LocalPart:
    """A local part in its external form: lower case, quoted only where it must be (RFC 5321 4.1.2)."""

    text: str

    @property
    def is_quoted(self) -> bool:
        return self.text.startswith('"')

    @property
    def base(self) -> str:
        """The local part without its address extension, as Postfix splits it (`split_addr.c`)."""
        return self.text[: self._split()]

    @property
    def extension(self) -> str:
        """The extension with its separator (`+tag`), or an empty text."""
        return self.text[self._split() :]

    def _split(self) -> int:
        if self.is_quoted:
            return len(self.text)
        at = self.text.find(EXTENSION_SEPARATOR)
        return at if at > 0 else len(self.text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A mailbox address. With an empty local part it stands for a catch-all (`@example.org`)."""

    domain: Domain
    local: LocalPart

    @property
    def ascii(self) -> str:
        """The form that is looked up: `local@a-label`."""
        return f"{self.local.text}@{self.domain.ascii}"

    @property
    def unicode(self) -> str:
        """The form for people: `local@u-label`."""
        return f"{self.local.text}@{self.domain.unicode}"

    @property
    def is_catch_all(self) -> bool:
        return not self.local.text

    @property
    def without_extension(self) -> Address:
        return Address(self.domain, LocalPart(self.local.base))

    def __str__(self) -> str:
        return self.unicode


def parse_domain(text: str) -> Domain:
    """A domain from U-labels or A-labels in any case. Raises AddressError."""
    return _parse_domain(text)


@lru_cache(maxsize=1024)  # a hundred thousand addresses have few domains, and one value of each is enough
def _parse_domain(text: str) -> Domain:
    _check_text(text, "domain")
    name = text
    if not name.isascii() or "xn--" in name.lower():
        name = _idna(text)
    name = name.lower()
    if len(name) > DOMAIN_OCTETS:
        raise AddressError(f"domain is longer than {DOMAIN_OCTETS} octets: {_shorten(text)}")
    if name.startswith("["):
        raise AddressError(f"address literals are not supported: {_shorten(text)}", hint="use a domain name")
    labels = name.split(".")
    for label in labels:
        if not label:
            raise AddressError(
                f"domain has an empty label: {_shorten(text)}", hint="write it as in example.org"
            )
        if len(label) > LABEL_OCTETS:
            raise AddressError(f"domain label is longer than {LABEL_OCTETS} octets: {_shorten(text)}")
        if not _LABEL.match(label):
            raise AddressError(
                f"not a domain: {_shorten(text)}",
                hint="labels hold letters, digits and inner hyphens, as in example.org",
            )
    if len(labels) < 2:
        raise AddressError(
            f"domain has only one label: {_shorten(text)}", hint="write it in full, as in example.org"
        )
    if labels[-1].isdigit():
        raise AddressError(f"not a domain but a number or an IP address: {_shorten(text)}")
    return Domain(name)


def parse_local_part(text: str) -> LocalPart:
    """A local part as it stands before the `@`, lower-cased. Raises AddressError."""
    _check_text(text, "local part")
    if not text.isascii():
        raise AddressError(
            f"local part has characters outside ASCII: {_shorten(text)}",
            hint="only the domain may be internationalised; use ASCII before the @",
        )
    local = text.lower()
    if local.startswith('"'):
        if not _QUOTED_STRING.match(local):
            raise AddressError(f"not a quoted local part: {_shorten(text)}")
        local = _normal_quoting(local)
    elif not _DOT_STRING.match(local):
        raise AddressError(
            f"not a local part: {_shorten(text)}",
            hint="no spaces, brackets or commas, and no dot at an end or beside another",
        )
    if len(local) > LOCAL_PART_OCTETS:
        raise AddressError(f"local part is longer than {LOCAL_PART_OCTETS} octets: {_shorten(text)}")
    return LocalPart(local)


def parse_address(text: str) -> Address:
    """An address as an envelope holds it, remote ones included. Raises AddressError."""
    _check_text(text, "address")
    local, at, domain = text.rpartition("@")
    if not at:
        raise AddressError(
            f"address has no @: {_shorten(text)}", hint="write it in full, as in amy@example.org"
        )
    if not local:
        raise AddressError(
            f"address has nothing before the @: {_shorten(text)}",
            hint="only an alias may be a catch-all such as @example.org",
        )
    address = Address(parse_domain(domain), parse_local_part(local))
    if len(address.ascii) > ADDRESS_OCTETS:
        raise AddressError(f"address is longer than {ADDRESS_OCTETS} octets: {_shorten(text)}")
    return address


def parse_own_address(text: str) -> Address:
    """An address that may be made in the directory: a user or an alias. Raises AddressError."""
    address = parse_address(text)
    check_own_local_part(address.local)
    return address


def parse_alias_address(text: str) -> Address:
    """An address of ours, or a catch-all (`@example.org`). Raises AddressError."""
    if text.startswith("@") and text.count("@") == 1:
        _check_text(text, "address")
        return Address(parse_domain(text[1:]), LocalPart(""))
    return parse_own_address(text)


def check_own_local_part(local: LocalPart) -> None:
    """Refuse what could not log in or would not be delivered. Raises AddressError."""
    if EXTENSION_SEPARATOR in local.text:
        raise AddressError(
            f"{local} has the address extension separator {EXTENSION_SEPARATOR} in it",
            hint=f"mail to {local.base or 'user'}{EXTENSION_SEPARATOR}anything reaches "
            f"{local.base or 'user'} without being set up",
        )
    if not _OWN_LOCAL.match(local.text):
        bad = sorted({c for c in local.text if c not in OWN_LOCAL_CHARACTERS})
        raise AddressError(
            f"an address of ours cannot have {' '.join(bad)} before the @",
            hint=f"letters, digits and {' '.join(OWN_LOCAL_SYMBOLS)} are fine",
        )
    if local.text.startswith("-"):
        raise AddressError(
            f"{local} starts with a hyphen, which Postfix refuses (allow_min_user)",
            hint="start it with a letter or a digit",
        )


def _idna(text: str) -> str:
    import idna

    try:
        # uts46 maps what people type (capitals, full-width dots); the result must still be IDNA 2008.
        return idna.encode(text, uts46=True, strict=False, transitional=False).decode("ascii")
    except (idna.IDNAError, UnicodeError, IndexError, ValueError) as error:
        raise AddressError(
            f"not a domain by IDNA 2008: {_shorten(text)} ({_shorten(str(error), 80)})",
            hint="check the spelling of the internationalised name",
        ) from None


def _normal_quoting(quoted: str) -> str:
    """Least quoting (RFC 5321 4.1.2): without quotes where a Dot-string says the same."""
    content = re.sub(r"\\(.)", r"\1", quoted[1:-1], flags=re.DOTALL)
    if _DOT_STRING.match(content):
        return content
    return '"' + re.sub(r'(["\\])', r"\\\1", content) + '"'


def _check_text(text: str, what: str) -> None:
    if not text:
        raise AddressError(f"{what} is empty")
    if len(text) > INPUT_CHARACTERS:
        raise AddressError(f"{what} is longer than any can be ({len(text)} characters)")
    if not text.isprintable():
        # covers control characters, line ends, bidirectional overrides, surrogates
        raise AddressError(f"{what} has unprintable characters: {_shorten(text)}")
    if text != text.strip():
        raise AddressError(f"{what} has spaces around it: {_shorten(text)}")


def _shorten(text: str, limit: int = 60) -> str:
    """The text for an error message: printable and bounded."""
    shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[: limit + 1])
    return shown if len(text) <= limit else shown[: limit - 1] + "…"
