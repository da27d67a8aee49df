"""Replies and complaints without what differs from message to message, so that a log can count them."""

from __future__ import annotations

import re
from functools import lru_cache

_BRACKETED = re.compile(r"<[^<>]{0,320}>")
_match_said = re.compile(
    r"(?:host \S+ (?:said|refused to talk to me): |delivery temporarily suspended: )(.*+)"
).fullmatch
_in_reply = re.compile(r" \(in reply to [A-Z a-z]{1,40} command\)?$")
_VARYING = (
    re.compile(r"\S{1,255}\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?"),
    re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b"),
    re.compile(r"\b[^\s@<>()\[\]]{1,64}@[^\s@<>()\[\];,:]{1,255}"),
    re.compile(r"\b(?=\w{0,40}\d)[0-9A-Za-z_-]{10,}\b|\b\d{4,}\b"),
)


def reason(text: str) -> str:
    """A reason with what differs from message to message taken out, so that the same reasons are equal.

    Addresses, numbers longer than a reply code, queue IDs and the name of the host that spoke go.
    """
    return _reason(_BRACKETED.sub("<…>", text[:400]))


@lru_cache(maxsize=4096)
def _reason(text: str) -> str:
    said = _match_said(text)
    if said is not None:
        text = said[1]
    text = _in_reply.sub("", text)
    for pattern in _VARYING:
        text = pattern.sub("…", text)
    return " ".join(text.split())[:160]
