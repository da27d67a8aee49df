"""Header, structure and text of a message.

Everything in it is hostile: lines are looked at one by one, structure is followed without recursion, and
header, parts, nesting and text are bounded, so that any message takes bounded memory and time that is linear
in its size. What is left out for that is said in `notes`. Headers are understood by Python's `email`, in its
forgiving policy.

What it does not do: make text safe for a terminal (`render` does), or render HTML.
Sources: RFC 2045 to 2047, RFC 5322.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from email.message import Message as Header

HEADER_LIMIT = 256 << 10  # bytes of one header block
VALUE_LIMIT = 8 << 10  # characters of one header field; decoding takes the square of it
FIELD_LIMIT = 1000  # fields of one header block
PART_LIMIT = 500  # parts that are shown
DEPTH_LIMIT = 50  # parts within each other; deeper ones count as content of the last
BODY_LIMIT = 64 << 10  # characters of text shown
LINE_LIMIT = 64 << 10  # bytes of a line that are looked at


@dataclass(slots=True)
class Part:
    """A part of a message. `size` is in bytes as they stand in the message, transfer encoding included."""

    depth: int  # 0: the message itself
    type: str  # text/plain
    size: int = 0
    file_name: str | None = None
    charset: str | None = None
    encoding: str | None = None  # base64, quoted-printable


@dataclass(slots=True)
class Content:
    """`headers` are decoded, in their order. `body` is the text that people read, None for none."""

    headers: list[tuple[str, str]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    body: str | None = None
    body_type: str | None = None
    is_body_cut: bool = False
    notes: list[str] = field(default_factory=list)


def parse(chunks: Iterable[bytes], *, body: bool = False) -> Content:
    """What a message says; any bytes at all give a Content."""
    content = Content()
    lines = _Lines(chunks)
    block, is_cut = _header_block(lines)
    content.headers = list(decoded(block))
    if is_cut:
        content.notes.append(f"the header is longer than {HEADER_LIMIT >> 10} KiB; its end is not shown")
    _Structure(content, body).read(block, lines)
    return content


def header_block(chunks: Iterable[bytes]) -> bytes:
    """The header of a message, up to its blank line, for `decoded`."""
    return _header_block(_Lines(chunks))[0]


class _Lines:
    """Lines of a message, each with whether it begins a line: very long ones come in pieces."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._is_begin = True
        self._again: bytes | None = None

    def __iter__(self) -> Iterator[tuple[bytes, bool]]:
        return self

    def __next__(self) -> tuple[bytes, bool]:
        if self._again is not None:
            chunk, self._again = self._again, None
            return chunk, True
        chunk, is_begin = next(self._chunks), self._is_begin
        self._is_begin = chunk.endswith(b"\n")
        return chunk, is_begin

    def put_back(self, line: bytes) -> None:
        """Give this line, the last one and a beginning, once more."""
        self._again = line


def _header_block(lines: _Lines, is_boundary: Callable[[bytes], bool] | None = None) -> tuple[bytes, bool]:
    """(a header up to its blank line, or to where the next part begins; whether it was cut short)."""
    kept: list[bytes] = []
    size = 0
    for line, is_begin in lines:
        if is_begin and line in (b"\n", b"\r\n"):
            break
        if is_begin and is_boundary is not None and line[:2] == b"--" and is_boundary(line):
            lines.put_back(line)
            break
        size += len(line)
        if size <= HEADER_LIMIT:
            kept.append(line)
    return b"".join(kept), size > HEADER_LIMIT


def decoded(block: bytes, wanted: set[bytes] | None = None) -> Iterator[tuple[str, str]]:
    """The fields of a header block as text, in their order; `wanted` are names in lower case.

    A line that is no field is given with an empty name.
    """
    current: list[bytes] = []
    count = size = 0
    for line in [*block.split(b"\n"), b""]:
        if line[:1] in (b" ", b"\t") and current:
            size += len(line)
            if size < VALUE_LIMIT * 4:
                current.append(line)
            continue
        if current:
            name, colon, value = b"\n".join(current).partition(b":")
            if not colon or b" " in name.strip() or not name.strip():
                name, value = b"", b"\n".join(current)
            name = name.strip()
            if wanted is None or name.lower() in wanted:
                yield name.decode("utf-8", "replace"), decode_value(value)
                count += 1
                if count >= FIELD_LIMIT:
                    return
        current = [line.rstrip(b"\r")] if line.strip() else []
        size = len(line)


def decode_value(value: bytes) -> str:
    """A header field's value as text: unfolded, encoded words decoded (RFC 2047), bounded."""
    text = " ".join(part.strip() for part in value.decode("utf-8", "replace").splitlines()).strip()
    cut = "…" if len(text) > VALUE_LIMIT else ""
    text = text[:VALUE_LIMIT]
    if "=?" not in text:
        return text + cut
    from email.errors import HeaderParseError
    from email.header import decode_header

    try:
        words = decode_header(text)
    except (HeaderParseError, ValueError, AssertionError):
        return text + cut
    found = []
    for word, charset in words:
        if isinstance(word, str):
            found.append(word)
        else:
            found.append(_decode(word, charset))
    return "".join(found) + cut


def _decode(raw: bytes, charset: str | None) -> str:
    try:
        return raw.decode(charset or "utf-8", "replace")
    except (LookupError, ValueError, TypeError):  # unknown, or no charset at all
        return raw.decode("latin-1")


def _parse_header(block: bytes) -> Header:
    from email.parser import BytesHeaderParser
    from email.policy import compat32

    return BytesHeaderParser(policy=compat32).parsebytes(block)


class _Structure:
    """Walks through the parts of a message by their boundaries."""

    def __init__(self, content: Content, wants_body: bool) -> None:
        self._content = content
        self._wants_body = wants_body
        self._open: list[tuple[bytes, int]] = []  # boundaries of the multiparts that we are in, depths
        self._levels: dict[bytes, int] = {}  # boundary -> its place in `_open`
        self._part: Part | None = None
        self._text: list[bytes] | None = None  # of the part that becomes the body
        self._text_size = 0
        self._candidate: tuple[Part, list[bytes]] | None = None

    def read(self, block: bytes, lines: _Lines) -> None:
        self._begin(block, 0, lines)
        for line, is_begin in lines:
            if is_begin and line[:2] == b"--" and self._levels:
                level, ends = self._boundary(line)
                if level is not None:
                    self._close(level, ends=ends)
                    if not ends:
                        self._begin(self._header(lines), self._open[level][1] + 1, lines)
                    continue
            if self._part is not None:
                self._part.size += len(line)
            if self._text is not None and self._text_size <= BODY_LIMIT * 4:
                self._text.append(line)
                self._text_size += len(line)
        self._finish()

    def _header(self, lines: _Lines) -> bytes:
        return _header_block(lines, lambda line: self._boundary(line)[0] is not None)[0]

    def _boundary(self, line: bytes) -> tuple[int | None, bool]:
        """(the level of the boundary that a line is, whether it ends that level)."""
        text = line[2:LINE_LIMIT].rstrip()
        level = self._levels.get(text)
        if level is not None:
            return level, False
        if text.endswith(b"--"):
            return self._levels.get(text[:-2]), True
        return None, False

    def _close(self, level: int, *, ends: bool) -> None:
        """Leave all that is open within a level, and the level itself where it ends."""
        while len(self._open) > level + (not ends):
            boundary, _ = self._open.pop()
            self._levels.pop(boundary, None)
        if self._text and self._text[-1].endswith(b"\n"):  # RFC 2046: it belongs to the boundary
            self._text[-1] = self._text[-1].rstrip(b"\n").rstrip(b"\r")
        self._part = self._text = None

    def _begin(self, block: bytes, depth: int, lines: _Lines) -> None:
        """A part begins with its header; a message within the message has one more."""
        while True:
            self._part = self._text = None
            if len(self._content.parts) >= PART_LIMIT:
                self._note(f"it has more than {PART_LIMIT} parts; the rest is not shown")
                return
            header = _parse_header(block)
            part = self._part = self._described(header, depth)
            self._content.parts.append(part)
            if depth >= DEPTH_LIMIT:
                self._note(f"it is nested more than {DEPTH_LIMIT} deep; what is deeper is not taken apart")
                return
            if part.type == "message/rfc822" and part.encoding not in ("base64", "quoted-printable"):
                block, depth = self._header(lines), depth + 1
                continue
            if part.type.startswith("multipart/"):
                boundary = (_parameter(header, "boundary") or "").encode("utf-8", "surrogateescape").rstrip()
                if boundary and boundary not in self._levels:
                    self._levels[boundary] = len(self._open)
                    self._open.append((boundary, depth))
            else:
                self._maybe_body(part)
            return

    def _described(self, header: Header, depth: int) -> Part:
        try:
            kind = header.get_content_type()
        except Exception:  # hostile parameters make `email` fail in many ways
            kind = "application/octet-stream"
        name = _parameter(header, "filename", "content-disposition") or _parameter(header, "name")
        encoding = str(header.get("content-transfer-encoding", "")).strip().lower()[:40]
        return Part(
            depth,
            kind[:100],
            file_name=decode_value(name.encode("utf-8", "surrogateescape"))[:255] if name else None,
            charset=_parameter(header, "charset"),
            encoding=encoding or None,
        )

    def _maybe_body(self, part: Part) -> None:
        """Collect the text of the first plain part, or of the first HTML part while there is none."""
        if not self._wants_body or part.file_name is not None or part.type not in ("text/plain", "text/html"):
            return
        if self._candidate is not None and not (
            part.type == "text/plain" and self._candidate[0].type == "text/html"
        ):
            return
        self._text, self._text_size = [], 0
        self._candidate = part, self._text

    def _finish(self) -> None:
        sizes = [0] * (DEPTH_LIMIT + 2)  # what is deeper belongs to what holds it
        for part in reversed(self._content.parts):
            part.size += sizes[part.depth + 1]
            sizes[part.depth + 1] = 0
            sizes[part.depth] += part.size
        if self._candidate is None:
            return
        part, lines = self._candidate
        raw = b"".join(lines)
        text = _decode(_transfer_decoded(raw, part.encoding), part.charset)
        content = self._content
        content.body, content.body_type = text[:BODY_LIMIT], part.type
        content.is_body_cut = len(text) > BODY_LIMIT or len(raw) + 2 < part.size

    def _note(self, text: str) -> None:
        if text not in self._content.notes:
            self._content.notes.append(text)


def _parameter(header: Header, name: str, field_name: str = "content-type") -> str | None:
    """A parameter of a header field, put together as RFC 2231 has it; None where there is none."""
    from email.utils import collapse_rfc2231_value

    try:
        whole = str(header.get(field_name, ""))
    except Exception:  # hostile parameters make `email` fail in many ways
        return None
    if "=" not in whole or len(whole) > VALUE_LIMIT:  # taking it apart takes the square of its length
        return None
    try:
        value = header.get_param(name, None, field_name)
        if value is None:
            return None
        return collapse_rfc2231_value(value)[:VALUE_LIMIT].replace("\n", "").replace("\r", "") or None
    except Exception:  # hostile parameters make `email` fail in many ways
        return None


def _transfer_decoded(raw: bytes, encoding: str | None) -> bytes:
    if encoding == "quoted-printable":
        import quopri

        return quopri.decodestring(raw)
    if encoding == "base64":
        import base64
        import binascii
        import re

        letters = re.sub(rb"[^A-Za-z0-9+/]", b"", raw)
        spare = len(letters) % 4
        letters = letters[:-1] if spare == 1 else letters + b"=" * (-len(letters) % 4)
        try:
            return base64.b64decode(letters)
        except binascii.Error:
            return raw
    return raw
