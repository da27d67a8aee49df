"""Header, structure and text of messages that nobody can be trusted to have written well."""

from __future__ import annotations

import time
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postmaster.queue import mime
from postmaster.queue.mime import decode_value, parse


def lines(text: bytes) -> list[bytes]:
    return text.splitlines(keepends=True)


def message() -> EmailMessage:
    made = EmailMessage()
    made["Subject"] = "Grüße an alle"
    made["From"] = "Amy Müller <amy@example.org>"
    made["To"] = "bob@example.net"
    made.set_content("Hallo, schöne Welt.\n")
    made.add_alternative("<p>Hallo</p>", subtype="html")
    made.add_attachment(b"%PDF" * 1000, maintype="application", subtype="pdf", filename="Rechnung März.pdf")
    return made


def test_headers_are_decoded_in_their_order() -> None:
    found = parse(lines(message().as_bytes()))
    assert [name for name, _ in found.headers][:3] == ["Subject", "From", "To"]
    assert dict(found.headers)["Subject"] == "Grüße an alle"
    assert dict(found.headers)["From"] == "Amy Müller <amy@example.org>"


def test_structure_with_sizes_and_file_names() -> None:
    found = parse(lines(message().as_bytes()), body=True)
    assert [(part.depth, part.type, part.file_name) for part in found.parts] == [
        (0, "multipart/mixed", None),
        (1, "multipart/alternative", None),
        (2, "text/plain", None),
        (2, "text/html", None),
        (1, "application/pdf", "Rechnung März.pdf"),
    ]
    assert found.parts[4].size > 5000
    assert found.parts[0].size >= found.parts[1].size + found.parts[4].size
    assert found.parts[1].size >= found.parts[2].size + found.parts[3].size
    assert (found.body, found.body_type, found.is_body_cut) == (
        "Hallo, schöne Welt.\n",
        "text/plain",
        False,
    )
    assert found.notes == []


def test_without_plain_text_the_html_is_the_body() -> None:
    made = EmailMessage()
    made.set_content("<p>only this</p>", subtype="html")
    found = parse(lines(made.as_bytes()), body=True)
    assert (found.body, found.body_type) == ("<p>only this</p>\n", "text/html")
    assert parse(lines(made.as_bytes())).body is None


@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "utf-16"])
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_the_body_is_decoded(encoding: str, charset: str) -> None:
    import base64
    import quopri

    raw = "Größe: 5 €".replace("€", "EUR").encode(charset)
    text = base64.encodebytes(raw) if encoding == "base64" else quopri.encodestring(raw)
    head = f"Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: {encoding}\n\n"
    assert parse(lines(head.encode() + text), body=True).body == "Größe: 5 EUR"


def test_an_unknown_charset_and_broken_base64_still_give_text() -> None:
    head = b"Content-Type: text/plain; charset=klingon\nContent-Transfer-Encoding: base64\n\n"
    assert parse(lines(head + b"SGVsbG8!!"), body=True).body == "Hello"


def test_a_message_within_a_message_has_its_own_structure() -> None:
    outer = EmailMessage()
    outer["Subject"] = "forwarded"
    outer.set_content("see below")
    outer.add_attachment(message())
    found = parse(lines(outer.as_bytes()), body=True)
    assert [(part.depth, part.type) for part in found.parts] == [
        (0, "multipart/mixed"),
        (1, "text/plain"),
        (1, "message/rfc822"),
        (2, "multipart/mixed"),
        (3, "multipart/alternative"),
        (4, "text/plain"),
        (4, "text/html"),
        (3, "application/pdf"),
    ]
    assert found.body == "see below\n"


def test_a_part_without_a_blank_line_does_not_swallow_the_next() -> None:
    head = b"Content-Type: multipart/mixed; boundary=b\n\n"
    text = head + b"--b\nContent-Type: image/png\n--b\n\ntext\n\n--b--\nend\n"
    found = parse(lines(text), body=True)
    assert [part.type for part in found.parts] == ["multipart/mixed", "image/png", "text/plain"]
    assert found.body == "text\n"


def nested(depth: int) -> bytes:
    text = b""
    for level in range(depth):
        text += b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (level, level)
    return text + b"\ninnermost\n"


HOSTILE = {
    "deep nesting": nested(5000),
    "messages in messages": b"Content-Type: message/rfc822\n\n" * 20_000,
    "many parts": b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 100_000,
    "one huge header line": b"Subject: " + b"x" * 5_000_000 + b"\n\nbody\n",
    "a header without end": b"X-Field: y\n" * 300_000,
    "folded without end": b"Subject: a\n" + b" b\n" * 500_000,
    "encoded words without end": b"Subject: " + b"=?utf-8?q?a" * 100_000 + b"\n\n",
    "many encoded words": b"Subject: " + b"=?utf-8?q?a?= " * 100_000 + b"\n\n",
    "parameters without end": b"Content-Type: text/plain; " + b'a="b;' * 50_000 + b"\n\nx\n",
    "numbered parameters": b"Content-Disposition: a; "
    + b"; ".join(b"filename*%d*=x" % n for n in range(20_000))
    + b"\n\nx",
    "one huge line": b"\n" + b"x" * 5_000_000,
    "huge base64": b"Content-Transfer-Encoding: base64\n\n" + b"QUJD" * 1_000_000,
    "a boundary of spaces": b'Content-Type: multipart/mixed; boundary="   "\n\n--   \n--\n' * 1000,
    "lines that look like boundaries": b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--c\n" * 200_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messages_are_bounded(name: str) -> None:
    begun = time.process_time()
    found = parse(lines(HOSTILE[name]), body=True)
    assert time.process_time() - begun < 20, "a bound, not a measurement: without it, it would be minutes"
    assert len(found.parts) <= mime.PART_LIMIT
    assert all(part.depth <= mime.DEPTH_LIMIT for part in found.parts)
    assert sum(len(value) for _, value in found.headers) <= 2 * mime.HEADER_LIMIT
    assert len(found.body or "") <= mime.BODY_LIMIT


def test_what_is_left_out_is_said() -> None:
    assert "50 deep" in parse(lines(nested(60))).notes[0]
    assert "500 parts" in parse(lines(HOSTILE["many parts"])).notes[0]
    assert "longer than 256 KiB" in parse(lines(HOSTILE["one huge header line"])).notes[0]
    assert parse(lines(b"\n" + b"x\n" * 100_000), body=True).is_body_cut


@given(st.binary(max_size=1000))
def test_any_bytes(data: bytes) -> None:
    parse(lines(data), body=True)
    parse([data[at : at + 7] for at in range(0, len(data), 7)], body=True)


PIECE = st.sampled_from(
    [
        *(b"Content-Type: multipart/mixed; boundary=b\n", b"Content-Type: multipart/x; boundary=c\n"),
        *(b"Content-Type: message/rfc822\n", b"Content-Type: text/plain; charset*=utf-8'x'%ff\n", b"\n"),
        *(b"--b\n", b"--c\n", b"--b--\n", b"--c--\n", b"text\n", b"Content-Transfer-Encoding: base64\n"),
        *(
            b"Subject: =?utf-8?b?//8=?=\n",
            b"Content-Disposition: a; filename*0*=x''%; filename*1=\"\n",
            b" \n",
        ),
        *(b"Content-Type:\n", b"Content-Type: ;;;=\n", b": \n", b"\xff\xfe: \x80\n", b"x"),
    ]
)


@given(st.lists(PIECE, max_size=40))
def test_any_structure(pieces: list[bytes]) -> None:
    found = parse(lines(b"".join(pieces)), body=True)
    assert found.parts
    assert found.parts[0].depth == 0


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b" plain ", "plain"),
        (b" folded\n\tvalue", "folded value"),
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b"=?utf-8?b?w6Q=?= =?iso-8859-1?q?=E4?= end", "ää end"),
        (b"=?klingon?q?=E4?=", "ä"),
        (b"=?utf-8?b?###?=", None),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_values(raw: bytes, text: str | None) -> None:
    found = decode_value(raw)
    assert text is None or found == text


@given(st.binary(max_size=300))
def test_any_value(raw: bytes) -> None:
    decode_value(raw)
