"""The words and options that choose messages."""

from __future__ import annotations

import io
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from postmaster.cli.queue.choose import Chosen, Queue, Source, choose, choosing, complete_words
from postmaster.errors import UsageError
from postmaster.queue.expression import FilterError
from postmaster.queue.fields import QUEUES


def filter_of(*words: str, **options: Any) -> str:
    return str(choose(words, **options).node)


def test_nothing_chosen_is_none() -> None:
    assert choose() == Chosen()
    assert choose([]).node is None
    assert choose(source=Source.spool, instance=["out"]) == Chosen(None, (), "spool", ("out",))


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["3FA9C01"], "id=3FA9C01"),
        (["3FA9C01", "4B7Z2K5NHbz8gQ"], "id=3FA9C01 or id=4B7Z2K5NHbz8gQ"),
        (["3FA9C01*", "3FA9C02!"], "id=3FA9C01 or id=3FA9C02"),
        (["amy@example.org"], "sender=amy@example.org or recipient=amy@example.org"),
        (["sender=x@y", "and", "age>2h"], "sender=x@y and age>2h"),
        (["sender=x@y"], "sender=x@y"),
        (["o'brien@example.org"], 'sender="o\'brien@example.org" or recipient="o\'brien@example.org"'),
        (['"a b@x"'], 'sender="a b@x" or recipient="a b@x"'),
        (["sender=x@y and age>2h"], "sender=x@y and age>2h"),
        (["not", "(queue=hold", "or", "queue=active)"], "not (queue=hold or queue=active)"),
        (["3FA9C01", "or", "queue=hold"], "id=3FA9C01 or queue=hold"),
        (['reason~"too many"', "and", "queue=hold"], 'reason~"too many" and queue=hold'),
    ],
)
def test_words(words: list[str], meant: str) -> None:
    assert filter_of(*words) == meant


def test_ids_are_kept_to_tell_which_are_missing() -> None:
    assert choose(["3FA9C01", "4B7Z2K5NHbz8gQ"]).ids == ("3FA9C01", "4B7Z2K5NHbz8gQ")
    assert choose(["amy@example.org"]).ids == ()
    assert choose(["id=3FA9C01"]).ids == ()


@pytest.mark.parametrize("words", [["3FA9C01", "NOSUCHTHING"], ["amy@example.org", "3FA9C01", "NOSUCHTHING"]])
def test_a_word_among_ids_that_is_none_is_named(words: list[str]) -> None:
    with pytest.raises(FilterError, match=r"^NOSUCHTHING is no queue ID or address$"):
        choose(words)


@pytest.mark.parametrize("words", [["reason~too many", "and", "queue=hold"], ["sender=x@y", "queue=hold"]])
def test_words_that_make_no_filter_say_how_to_quote(words: list[str]) -> None:
    with pytest.raises(FilterError, match="expected and, or") as caught:
        choose(words)
    assert "single quotes" in str(caught.value.hint)
    assert "^" in str(caught.value.detail)


@pytest.mark.parametrize("words", [["age"], ["sender"], ["age", "and", "queue=hold"], ["*"], [""], ["ALL"]])
def test_half_a_filter_is_never_the_whole_queue(words: list[str]) -> None:
    with pytest.raises(FilterError):
        choose(words)


def test_options_are_joined_by_and() -> None:
    assert (
        filter_of(
            "queue!=active",
            sender="@shop.example",
            recipient="amy@example.org",
            older="2h",
            larger="5M",
            reason="(too many",
            queue=[Queue.hold, Queue.deferred],
        )
        == "not queue=active and sender=*@shop.example and recipient=amy@example.org and age>2h and size>5M"
        ' and reason="*(too many*" and (queue=hold or queue=deferred)'
    )
    assert filter_of(sender="") == 'sender=""'
    assert filter_of(sender="<>") == 'sender=""'
    assert filter_of(sender="root@*") == "sender=root@*"


def test_several_ids_and_an_option_are_both_asked_for() -> None:
    assert filter_of("3FA9C01", "3FA9C02", older="1d") == "(id=3FA9C01 or id=3FA9C02) and age>1d"


@pytest.mark.parametrize(
    ("option", "value", "what"),
    [
        ("sender", "shop.example", "--sender @shop.example for a domain"),
        ("recipient", "root", "--recipient 'root@\\*' for a name"),
    ],
)
def test_a_pattern_that_could_be_meant_in_two_ways_is_refused(option: str, value: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose(**{option: value})  # type: ignore[arg-type]
    assert what.replace("\\", "") in str(caught.value.hint)


@pytest.mark.parametrize(("option", "value"), [("older", "2"), ("older", "soon"), ("larger", "2d")])
def test_an_amount_without_its_unit(option: str, value: str) -> None:
    with pytest.raises(FilterError, match=f"--{option} {value}: .* wants a"):
        choose(**{option: value})  # type: ignore[arg-type]


def test_ids_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("3FA9C01\n3FA9C02\n"))
    assert choose(["-"]).ids == ("3FA9C01", "3FA9C02")
    for text in ("", "\n \n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        with pytest.raises(UsageError, match="no queue ID on standard input"):
            choose(["-"])
    monkeypatch.setattr("sys.stdin", io.StringIO("3FA9C01\nqueue=hold\n"))
    with pytest.raises(UsageError, match="queue=hold"):
        choose(["-"])


def test_what_postqueue_cannot_know() -> None:
    with pytest.raises(FilterError, match="sasl cannot be told from postqueue"):
        choose(["not", "sasl=amy"], source=Source.postqueue)
    choose(["not", "sasl=amy"], source=Source.spool)


def test_completion() -> None:
    assert complete_words("sen") == ["sender=", "sender-domain="]
    assert complete_words("ag") == ["age>"]
    assert complete_words("queue=d") == ["queue=deferred"]
    assert complete_words("sender=a") == []


def test_the_queues_are_those_of_the_fields() -> None:
    assert tuple(Queue) == QUEUES


def test_a_command_gets_the_options_and_what_they_say() -> None:
    seen: list[tuple[Chosen, int]] = []
    app = typer.Typer()

    @app.command()
    @choosing
    def command(context: typer.Context, chosen: Chosen, number: int = 3) -> None:
        """Does it."""
        assert context.command_path
        seen.append((chosen, number))

    runner = CliRunner()
    done = runner.invoke(app, ["queue=hold", "--older", "2h", "--queue", "active", "--number", "5"])
    assert done.exit_code == 0, done.output
    ((chosen, number),) = seen
    assert str(chosen.node) == "queue=hold and age>2h and queue=active"
    assert number == 5
    assert chosen.needs() == {"queue_name", "arrival_time"}
    shown = runner.invoke(app, ["--help"]).output
    for option in ("--sender", "--recipient", "--older", "--larger", "--reason", "--source", "--instance"):
        assert option in shown
    assert "chosen" not in shown
    assert runner.invoke(app, ["--queue", "nonsense"]).exit_code == 2
