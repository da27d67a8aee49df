"""Reasons of delay without what differs from message to message, so that an incident is one line.

`pattern` takes addresses, IP addresses, host names, IDs, times, numbers, URLs and paths out of a
reason, and what a server says about its own workings (in brackets). Kept are Postfix's own words, the
reply code, the port or socket of a connection, the record type of a failed look-up, and the name of
a block list, as each of them makes another incident. `key` is the pattern with its status code.

It works word by word, as words repeat where whole reasons do not: most are found in a cache.

What it guarantees: any text at all is taken, no more than `LONGEST` of it is looked at, in linear
time. What it does not: know that two servers mean the same with different words.
"""

from __future__ import annotations

import re
from functools import lru_cache

LONGEST = 1_500  # characters of a reason that are looked at; Gmail's longest have some 700
LONG = 100  # characters of a word; longer ones are not worth remembering

_SUSPENDED = "delivery temporarily suspended: "  # qmgr, of a destination that failed before
_COMMAND = re.compile(r" \(in reply to [A-Za-z ]+ command\)\Z")
_REPLY = re.compile(r"(?:said|to me|start TLS): (\d{3})[- ](\d\.\d{1,3}\.\d{1,3}\b)?")
_CODE = re.compile(r"\??\b(\d{3})[- ](?:(\d\.\d{1,3}\.\d{1,3})\b)?\s*")
_NAMED = re.compile(r"\bname=\S+ type=(\w+)")
_OWN_NAME = re.compile(r"\b((?:mail for|my own hostname|lookup error for|resolve host:) )[\w.-]+")
_GREETING = re.compile(r"\A(?!\d\.\d)[\w.-]+(?= Error:)")
_QUOTED_PATH = re.compile(r"\"/[^\"]*\"")
_USER = re.compile(r"\bfor user \S+\.(?= |\Z)")
_AMOUNT = re.compile(r"\bN (?:seconds?|minutes?|hours?|days?)\b")
_BRACKETS = re.compile(r"\s*\[(?:[\w-]+=[^\]]*|(?:(?:HOST|TIME|ID)\b[\s,]*)+)\]")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\Z")

# Within a word
_URL = re.compile(r"\b(?:https?://|ldap:)[^\])\"'>]+")
_ADDRESS = re.compile(
    r"<[^<>@]*@[^<>]*>|(?<![^<>()\[\]:;,=])[^<>()\[\]:;,=@]+@[^<>()\[\]:;,@]*[^<>()\[\]:;,@.]"
)
_SERVER = re.compile(r"(?<![\w.\]-])(?:[\w.-]+|\[[^\]]*\])\[(?:([^\]]*/[^\]]*)|[0-9A-Fa-f.:]+|unknown)\]")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d+)?Z?)?(?![\w-])|\b\d{1,2}:\d\d:\d\d\b")
_IP = re.compile(
    r"\b\d{1,3}(?:\.\d{1,3}){3}\b"
    r"|(?<![\w:])(?:IPv6:)?(?=[0-9A-Fa-f]*:[0-9A-Fa-f]*:)[0-9A-Fa-f:]{3,39}(?![\w:])"
)
_HOST = re.compile(r"(?<![\w.@/-])(?:[A-Za-z0-9_-]+\.)+(?:[a-z]{2,24}|[A-Z]{2,24})\b(?![\w@/-])\.?")
_PATH = re.compile(r"(?<![\w\[])/[^:\"'()\[\]]+")
_TOKEN = re.compile(r"(?<![\w.-])(?=[\w.-]{4})(?=[A-Za-z_.-]*\d)[\w-]+(?:\.[\w-]+)*(?![\w@])")
_DOTTED = re.compile(r"[\d.]+\Z")
_LETTERS_AND_NUMBER = re.compile(r"([A-Za-z]{1,8})(\d+)\Z")
_NUMBER = re.compile(r"(?<![\w.:/])\d+(?![\w.]*\w)")


def key(reason: str, dsn: str | None) -> tuple[str, str]:
    """(status code, pattern): equal for the reasons of one incident. No code known: an empty one."""
    if dsn is None or not _STATUS.match(dsn):
        found = _REPLY.search(reason[:LONGEST])
        dsn = (found[2] if found else None) or ""
    return dsn, pattern(reason)


@lru_cache(maxsize=2_048)
def pattern(reason: str) -> str:
    """The reason without what differs from message to message."""
    text = " ".join(reason[:LONGEST].split())
    while text.startswith(_SUSPENDED):
        text = text[len(_SUSPENDED) :]
    if text.endswith(" command)"):
        text = _COMMAND.sub("", text)
    reply = _REPLY.search(text)
    if reply is None:
        text = _words(text)
    else:
        status = f" {reply[2]}" if reply[2] else ""
        said = _words(_on_one_line(text[reply.end() :].lstrip(), reply))
        text = f"{_words(text[: reply.start(1)])} {reply[1]}{status} {said}"
    if "N " in text:
        text = _AMOUNT.sub("TIME", text)
    if "[" in text:
        text = _BRACKETS.sub("", text)
    return text.strip()


def _on_one_line(said: str, reply: re.Match[str]) -> str:
    """A reply of several lines as one: the code stands before each of them, wherever they break."""
    if reply[1] in said:
        said = _CODE.sub(lambda m: " " if m.group(1, 2) == reply.group(1, 2) else m[0], said)
    return _GREETING.sub("HOST", said) if " Error:" in said else said


def _words(text: str) -> str:
    """Each word without what differs; first what is told by the words around it."""
    if "name=" in text:
        text = _NAMED.sub(_named, text)
    if " for " in text or " host" in text:
        text = _OWN_NAME.sub(r"\1HOST", text)
    if '"/' in text:
        text = _QUOTED_PATH.sub("PATH", text)
    if "for user " in text:
        text = _USER.sub("for user USER.", text)
    if "using " in text or "listed " in text:
        return _but_block_lists(text.split())
    return " ".join([_word(word) if len(word) < LONG else _plain_word(word) for word in text.split()])


def _but_block_lists(words: list[str]) -> str:
    """Which list we are on makes another incident."""
    made, before = [], ("", "")
    for word in words:
        listed = before[1] == "using" or (before[0] == "listed" and before[1] in ("in", "on", "at", "by"))
        made.append(word if listed else _word(word))
        before = before[1], word.lower()
    return " ".join(made)


@lru_cache(maxsize=16_384)
def _word(word: str) -> str:
    return _plain_word(word)


def _plain_word(word: str) -> str:
    if word.isalpha():
        return word
    if "://" in word or "ldap:" in word:
        word = _URL.sub("URL", word)
    if "@" in word:
        word = _ADDRESS.sub("ADDRESS", word)
    if "[" in word:
        word = _SERVER.sub(_server, word)
    if ":" in word or "-" in word:
        word = _TIME.sub("TIME", word)
    if ":" in word or "." in word:
        word = _HOST.sub("HOST", _IP.sub("IP", word))
    if "/" in word:
        word = _PATH.sub("PATH", word)
    return _NUMBER.sub("N", _TOKEN.sub(_token, word))


def _server(match: re.Match[str]) -> str:
    """`name[address]` as Postfix prints a server; a socket's path says which it is and stays."""
    return f"HOST[{match[1]}]" if match[1] else "HOST"


def _named(match: re.Match[str]) -> str:
    """IPv6 or not, it is the address of a host that was not found."""
    return f"name=HOST type={'A' if match[1] == 'AAAA' else match[1]}"


def _token(match: re.Match[str]) -> str:
    """IDs mix letters and digits; short codes (TSS04, ATTR18) say which rule was met and stay."""
    text = match[0]
    if _DOTTED.match(text):
        return text
    code = _LETTERS_AND_NUMBER.match(text)
    if code is not None:
        return text if len(code[2]) <= 2 else f"{code[1]}N"
    digits = sum(map(str.isdigit, text))
    return "ID" if digits >= 2 and len(text) >= 6 else text
