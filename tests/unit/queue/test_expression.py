"""The filter language: what it selects, its laws, its mistakes."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from postmaster.queue.expression import (
    MAXIMUM_CHARACTERS,
    FilterError,
    Node,
    all_of,
    any_of,
    check_source,
    compile_filter,
    fields_of,
    needs,
    parse,
    term,
)
from postmaster.queue.fields import FIELDS, SPOOL_ONLY, TEXTS, Kind
from postmaster.queue.message import Message, Recipient
from postmaster.queue.tree import AllOf, AnyOf, Not, Term
from tests.tools.messages import NOW, message, messages

HEADERS = {"subject": "Re: [list] Grüße", "from": "Amy <amy@example.org>", "message-id": "<1@example.org>"}


def selects(text: str, what: Message) -> bool:
    return compile_filter(parse(text), NOW, lambda _message: HEADERS)(what)


SAMPLE = message(
    Recipient("amy@Example.org", "host mx.example.org[192.0.2.1] said: 450 4.7.1 Greylisted (try)", "4.7.1"),
    Recipient("bob@gmail.com", None),
    message_size=5 << 20,
    arrival_time=NOW - 7200,
    next_retry=NOW + 600,
    expires=NOW + 86_400 * 3,
    client_name="mail.shop.example",
    client_address="192.0.2.77",
    helo_name="mail",
)


@pytest.mark.parametrize(
    "text",
    [
        "queue=deferred",
        "QUEUE=Deferred",
        "id=4B7Z2K5NHbz8gQ",
        "id=4B7Z*",
        "4B7Z2K5NHbz8gQ",
        "4B7Z2K5NHbz8gQ*",  # as mailq marks an active one
        "sender=NEWS@shop.example",
        "sender=<news@shop.example>",
        "sender=*@shop.example and age>1h",
        "sender-domain=shop.example",
        "recipient=amy@example.org",
        "recipient-domain=gmail.com",
        "news@shop.example",
        "bob@GMAIL.com",
        '"bob@gmail.com"',
        "*@gmail.com",
        "size=5M",
        "size>=5242880",
        "size<5.1m",
        "age>=2h",
        "age<1d",
        "retry<=10m",
        "retry>599s",
        "expires>2d",
        "recipients=2",
        "recipients>1",
        "reason~greylist or reason~Greylist",
        'reason~"(?i)greylist"',
        'reason~"450 4\\.7\\.\\d+ "',
        "reason=*greylisted*",
        'reason="*(try)"',
        "dsn=4.7.?",
        "client=mail.shop.example",
        "client=192.0.2.*",
        "helo=mail",
        "instance=-",
        "subject=*grüße",
        "from~amy",
        "message-id=<1@example.org>",
        "not queue=hold",
        "queue!=hold",
        "reason!~nonsense",
        "sasl!=amy",  # it has none: not amy's
        "not (queue=hold or queue=active) and (queue=deferred)",
        "queue=hold and queue=active or queue=deferred",
        "NOT queue=hold AND queue=deferred",
    ],
)
def test_a_filter_selects(text: str) -> None:
    assert selects(text, SAMPLE)
    assert not selects(f"not ({text})", SAMPLE)
    assert not compile_filter(Not(parse(text)), NOW, lambda _m: HEADERS)(SAMPLE)


@pytest.mark.parametrize(
    "text",
    [
        "id=4b7z2k5nhbz8gq",  # the case of a long ID counts
        "3FA9C01",
        "sender=news",
        'sender=""',
        "sender=<>",
        "sender=MAILER-DAEMON",
        "sender-domain=example",
        "size>5M",
        "age>2h",
        "retry>10m",
        "recipients<2",
        "reason~^greylist",
        'reason=""',
        "sasl=amy",
        "sasl=*",
        "client=mail",
        "dsn=4.7",
        "queue=hold or queue=active and queue=deferred",
    ],
)
def test_a_filter_leaves_out(text: str) -> None:
    assert not selects(text, SAMPLE)


def test_a_bounce_has_the_empty_sender() -> None:
    bounce = message(sender="")
    for text in ('sender=""', "sender=<>", "sender=MAILER-DAEMON", "sender=*", 'sender-domain=""'):
        assert selects(text, bounce), text
    assert not selects("sender=?*", bounce)


def test_a_domain_is_found_by_either_of_its_names() -> None:
    wide = message("amy@xn--bcher-kva.example", sender="x@bücher.example")
    for text in (
        "recipient-domain=bücher.example",
        "recipient-domain=xn--bcher-kva.example",
        "recipient=amy@BÜCHER.example",
        "recipient=*@bücher.example",
        "sender=x@xn--bcher-kva.example",
        "bücher*@example.org or sender=*@bücher.example",
    ):
        assert selects(text, wide), text


def test_every_text_matches_itself() -> None:
    for odd in ("mailarchive@[172.16.1.10]", '"a*b?c"@example.org', "o'brien+x=y@example.org"):
        assert selects(str(Term("recipient", "=", odd)), message(odd))
        assert not selects(str(Term("recipient", "=", odd)), message("mailarchive@1"))


def test_many_ids_are_one_look_up() -> None:
    ids = [f"{number:06X}" for number in range(0x100000, 0x100000 + 20_000)]
    found = any_of(Term("id", "=", one) for one in ids)
    assert found is not None
    test = compile_filter(found, NOW)
    assert test(message(queue_id=ids[-1]))
    assert not test(message(queue_id="FFFFFF"))
    assert sum(map(test, [message(queue_id=one) for one in ids])) == len(ids)


def test_the_header_is_read_once_and_only_when_nothing_else_decides() -> None:
    asked: list[Message] = []

    def headers(what: Message) -> dict[str, str]:
        asked.append(what)
        return HEADERS

    test = compile_filter(parse("subject=x or from=y or subject~Re"), NOW, headers)
    assert test(SAMPLE)
    assert asked == [SAMPLE]
    asked.clear()
    assert not compile_filter(parse("subject=x and queue=hold"), NOW, headers)(SAMPLE)
    assert compile_filter(parse("subject=x or queue=deferred"), NOW, headers)(SAMPLE)
    assert asked == []


def test_what_must_be_read() -> None:
    assert fields_of(parse("age>1h and not (size>1 or reason~x)")) == {"age", "size", "reason"}
    assert needs(parse("age>1h and reason~x")) == {"arrival_time", "reasons"}
    assert needs(parse("client=x or dsn=4.*")) == {"client_name", "client_address", "reasons"}
    assert needs(parse("subject=x or from=y")) == {"headers"}
    attributes = set(Message.__dataclass_fields__) | {"reasons", "headers"}
    assert {field.reads for field in FIELDS.values()} <= attributes


@pytest.mark.parametrize("name", sorted(SPOOL_ONLY))
def test_what_postqueue_cannot_know_is_refused_and_not_taken_for_false(name: str) -> None:
    node = parse(f"not ({name}{'>1h' if FIELDS[name].kind not in TEXTS else '=x'}) or queue=hold")
    check_source(node, "spool")
    with pytest.raises(FilterError, match=name) as caught:
        check_source(node, "postqueue")
    assert "--source spool" in str(caught.value.hint)
    check_source(parse("queue=hold and age>1h and reason~x and recipients>1"), "postqueue")


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("", 0, "something is missing"),
        ("   ", 0, "something is missing"),
        ("sender", 6, "sender is a field"),
        ("queue=hold and age", 18, "age is a field"),
        ("age>", 4, "a value is missing"),
        ("age> and queue=hold", 5, "a value is missing before and"),
        ("age>2", 4, "age wants a duration such as 30m"),
        ("age=2h", 3, "age changes all the time"),
        ("age~2h", 3, "age is a duration and has no ~"),
        ("size>big", 5, "size wants a size such as 5M"),
        ("recipients>2M", 11, "recipients wants a number"),
        ("sender>x", 6, "sender is text and has no >"),
        ("sender==x", 7, "two operators in a row"),
        ("=x", 0, "expected a field"),
        ("sende=x", 0, "there is no field sende"),
        ("queue=hold sender=x", 11, "expected and, or, or the end"),
        ("reason~too many", 11, "expected and, or, or the end"),
        ("(queue=hold", 11, "a closing parenthesis is missing"),
        ("queue=hold)", 10, "never opened"),
        ("()", 1, "expected a field"),
        ("reason~(a)", 7, "needs quotes"),
        ('reason~"abc', 7, "never closed"),
        ("reason~[", 7, "not a regular expression"),
        ("queue=hold and", 14, "something is missing"),
        ("not", 3, "something is missing"),
        ("hello", 0, "hello is no field"),
        ("queue=hold and ÄÖ🎉 hello", 15, "is no field"),
        ("not " * 60 + "queue=hold", 200, "nested more than"),
    ],
)
def test_a_mistake_is_shown_in_its_place_with_the_fields(text: str, place: int, what: str) -> None:
    with pytest.raises(FilterError, match=re.escape(what)) as caught:
        parse(text)
    assert caught.value.detail is not None
    shown, caret, *fields = caught.value.detail.split("\n")
    assert "\n" not in caught.value.message
    assert " ".join(" ".join(fields).split()) == "fields: " + ", ".join(FIELDS)
    assert max(map(len, fields)) < 80
    if len(text) <= 100:
        assert shown == f"  {text}"
        assert caret == " " * (place + 2) + "^"
    else:
        assert caret.endswith("^")
        assert len(shown) < 120


def test_the_caret_stands_right_below_wide_and_hidden_characters() -> None:
    with pytest.raises(FilterError) as caught:
        parse("sender=*@例え.example and \x1b[31m")
    shown, caret, *_ = str(caught.value.detail).split("\n")
    assert "\x1b" not in shown
    assert "\\x1b[31m" in shown
    assert caret.index("^") == len("  sender=*@") + 4 + len(".example and ")


def test_a_hint_names_the_nearest_field_and_warns_of_the_shell() -> None:
    for text, hint in (("sendr=x", "did you mean sender"), ("age", "a shell takes")):
        with pytest.raises(FilterError) as caught:
            parse(text)
        assert hint in str(caught.value.hint)


def test_a_filter_has_an_end() -> None:
    with pytest.raises(FilterError, match="longer than"):
        parse("queue=hold or " * MAXIMUM_CHARACTERS + "queue=hold")


# Laws


def _values(name: str) -> st.SearchStrategy[str]:
    kind = FIELDS[name].kind
    if kind in TEXTS:
        return st.sampled_from(
            [
                "",
                "*",
                "amy@example.org",
                "*@gmail.com",
                "a?*",
                "and",
                "(x)",
                'q"uo\\te',
                "<>",
                "ä b",
                "=x",
                "'",
            ]
        )
    if kind is Kind.number:
        return st.sampled_from(["0", "1", "2.5"])
    if kind is Kind.size:
        return st.sampled_from(["0", "1k", "5M", "1.5g", "311b"])
    return st.sampled_from(["0", "30m", "2d", "1.5h", "90s", "1w"])


@st.composite
def terms(draw: st.DrawFn) -> Node:
    name = draw(st.sampled_from(sorted(FIELDS)))
    if FIELDS[name].kind in TEXTS:
        if draw(st.booleans()):
            return term(name, draw(st.sampled_from(["=", "!="])), draw(_values(name)))
        return term(
            name, draw(st.sampled_from(["~", "!~"])), draw(st.sampled_from(["a", r"^\d", "(?i)x|y", ".*"]))
        )
    ordered = ["<", "<=", ">", ">="] + (["=", "!="] if FIELDS[name].kind in (Kind.size, Kind.number) else [])
    return term(name, draw(st.sampled_from(ordered)), draw(_values(name)))


nodes: st.SearchStrategy[Node] = st.recursive(
    terms(),
    lambda inner: (
        st.builds(Not, inner)
        | st.lists(inner, min_size=2, max_size=4).map(lambda parts: both(*parts))
        | st.lists(inner, min_size=2, max_size=4).map(lambda parts: either(*parts))
    ),
    max_leaves=8,
)


def run(node: Node, what: Message) -> bool:
    return compile_filter(node, NOW, lambda _message: {"subject": "a b", "from": "amy@example.org"})(what)


def both(*parts: Node) -> Node:
    made = all_of(parts)
    assert made is not None
    return made


def either(*parts: Node) -> Node:
    made = any_of(parts)
    assert made is not None
    return made


@given(nodes, messages)
def test_not_not_x_is_x(node: Node, what: Message) -> None:
    assert run(Not(Not(node)), what) is run(node, what) is not run(Not(node), what)


@given(nodes, nodes, messages)
def test_de_morgan(one: Node, two: Node, what: Message) -> None:
    assert run(Not(both(one, two)), what) is run(either(Not(one), Not(two)), what)
    assert run(Not(either(one, two)), what) is run(both(Not(one), Not(two)), what)
    assert run(both(one, two), what) is (run(one, what) and run(two, what))
    assert run(either(one, two), what) is (run(one, what) or run(two, what))


@given(nodes, messages)
@example(Term("sender", "=", "and"), message())
@example(Term("reason", "~", '\\d"\\\\"'), message())
def test_printed_and_parsed_again_is_the_same(node: Node, what: Message) -> None:
    again = parse(str(node))
    assert again == node
    assert str(again) == str(node)
    assert run(again, what) is run(node, what)


@given(st.text(max_size=20))
def test_any_value_survives_printing(value: str) -> None:
    node = Term("reason", "=", value)
    assert parse(str(node)) == node


# What a person could type, and what nobody would


@given(st.text(max_size=80))
@example("\\" * 20)
@example('"' * 3)
@example("sender=\x00")
def test_any_text_is_a_filter_or_a_mistake(text: str) -> None:
    mistake = None
    try:
        node = parse(text)
    except FilterError as error:
        mistake = error
    if mistake is None:
        assert parse(str(node)) == node
    else:
        assert mistake.detail
        assert "\n" not in mistake.message


words = st.sampled_from(
    [
        *FIELDS,
        "=",
        "!=",
        "~",
        "!~",
        "<",
        "<=",
        ">",
        ">=",
        "(",
        ")",
        "and",
        "or",
        "not",
        '"',
        "'",
        "\\",
        " ",
        "5M",
        *("2h", "x@y", "*", "?", "[", "ABCDEF", "!", "<>", "é", "\u202e", "\x1b"),
    ]
)


@given(st.lists(words, max_size=25), st.sampled_from(["", " "]))
def test_any_row_of_its_own_words(parts: list[str], between: str) -> None:
    try:
        node = parse(between.join(parts))
    except FilterError:
        return
    assert parse(str(node)) == node
    run(node, SAMPLE)


def test_trees_that_people_build_hold_no_tree_of_their_own_kind() -> None:
    node = parse("(queue=hold or queue=active) or queue=deferred")
    assert isinstance(node, AnyOf)
    assert len(node.parts) == 3
    node = parse("queue=hold and (queue=active and queue=deferred)")
    assert isinstance(node, AllOf)
    assert len(node.parts) == 3
    assert all_of([]) is None
    assert any_of([]) is None
