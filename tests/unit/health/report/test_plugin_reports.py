"""What monitoring reads: a plugin's output by the guidelines' grammar, metrics by Prometheus' own parser."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from postmaster.health.changes import Acknowledgement
from postmaster.health.finding import OK, Finding, Measure, Severity
from postmaster.health.ranges import Range, at_most, parse_range
from postmaster.health.report import Report, Reported, nagios, prometheus

_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"
_RANGE = rf"@?(?:(?:~|{_NUMBER})?:)?(?:{_NUMBER})?"
#: 'label'=value[UOM];[warn];[crit];[min];[max]
PERFORMANCE = re.compile(
    rf"'((?:[^'=|]|'')+)'=(U|{_NUMBER})(s|us|ms|%|B|KB|MB|GB|TB|c)?"
    rf"(?:;({_RANGE})(?:;({_RANGE})(?:;({_NUMBER})?(?:;({_NUMBER})?)?)?)?)?"
)
FIRST = re.compile(r"MAIL (OK|WARNING|CRITICAL|UNKNOWN) - ([^|\n]+)(?: \| ([^|\n]*))?")


def parsed(text: str) -> tuple[str, str, list[re.Match[str]], list[str]]:
    """State, summary, performance data, long lines. Fails where it is not in the grammar."""
    assert text.endswith("\n")
    first, *rest = text[:-1].split("\n")
    found = FIRST.fullmatch(first)
    assert found is not None, first
    data, at = [], 0
    line = found[3] or ""
    while at < len(line):
        one = PERFORMANCE.match(line, at)
        assert one is not None, line[at:]
        data.append(one)
        at = one.end()
        assert at == len(line) or line[at] == " "
        at += 1
    assert all("|" not in more for more in rest)
    return found[1], found[2], data, rest


def report(*findings: Finding, **given: object) -> Report:
    return Report(1e9, "mail.example.org", 0.5, tuple(Reported(one, 9e8) for one in findings), **given)  # type: ignore[arg-type]


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
RANGES = st.builds(lambda a, b, i: Range(min(a, b), max(a, b), i), FINITE, FINITE, st.booleans())
MEASURES = st.builds(
    Measure,
    st.text(min_size=1, max_size=9),
    NUMBERS,
    st.sampled_from(["", "s", "%", "B", "c"]),
    st.none() | RANGES,
    st.none() | RANGES,
    st.none() | FINITE,
    st.none() | FINITE,
)
ANY_TEXT = st.text(st.characters(), max_size=20)
FINDINGS = st.builds(
    lambda check, item, code, severity, message, remedy, measures: Finding(
        check, item, code if severity else OK, severity, message, remedy, tuple(measures)
    ),
    st.sampled_from(["queue", "dns"]),
    ANY_TEXT,
    st.sampled_from(["bad", "worse"]),
    st.sampled_from(list(Severity)),
    ANY_TEXT,
    st.none() | ANY_TEXT,
    st.lists(MEASURES, max_size=3),
)


@given(st.lists(FINDINGS, max_size=5))
def test_a_plugin_s_output_is_in_the_guidelines_grammar(findings: list[Finding]) -> None:
    made = report(*findings)
    state, _, data, more = parsed(nagios.text(made))
    assert state == made.status.name.upper()
    assert len(more) == sum(one.severity is not Severity.ok for one in findings)
    assert len({one[1] for one in data}) == len(data)
    for one in data:
        for at in (4, 5):
            if one[at]:
                parse_range(one[at])


def test_a_plugin_s_output_has_labels_values_and_ranges() -> None:
    measure = Measure("age", 1e21, "s", at_most(3600), parse_range("@10:20"), 0, None)
    quoted = Measure("it's=odd|", 0.5, "%")
    finding = Finding(
        "queue", "oldest", "queue-old", Severity.warning, "old | and bad", "look", (measure, quoted)
    )
    text = nagios.text(report(finding, replace(finding, measures=(replace(measure, value=math.nan),))))
    assert text.splitlines() == [
        "MAIL WARNING - queue/oldest: old / and bad (+1) | "
        "'queue.oldest.age'=1000000000000000000000s;3600;@10:20;0 'queue.oldest.it''s_odd/'=0.5%",
        *["WARNING queue/oldest: old / and bad -> look"] * 2,
    ]


def test_a_plugin_names_the_worst_first_and_what_is_acknowledged_last() -> None:
    known = Acknowledgement("a", "x", "bad", Severity.critical, 2e9, "new disk", "amy", 1e9)
    made = Report(
        *(1e9, "h", 0.1),
        (
            Reported(Finding("a", "x", "bad", Severity.critical, "one"), 1.0, known),
            Reported(Finding("b", "x", "bad", Severity.warning, "two")),
            Reported(Finding("c", "x", "bad", Severity.critical, "three")),
        ),
        notes=("this run is not kept: full",),
    )
    lines = nagios.text(made).splitlines()
    assert lines == [
        "MAIL CRITICAL - c/x: three (+2)",
        "CRITICAL c/x: three",
        "WARNING b/x: two",
        "CRITICAL a/x: one [acknowledged by amy until 2033-05-18T03:33:20Z: new disk]",
        "this run is not kept: full",
    ]


def test_a_plugin_where_nothing_is_wrong_says_so() -> None:
    ok = Finding("queue", "size", OK, Severity.ok, "3 messages", None, (Measure("messages", 3),))
    assert nagios.text(report(ok)) == "MAIL OK - 1 finding, nothing is wrong | 'queue.size.messages'=3\n"
    assert nagios.text(report()).startswith("MAIL UNKNOWN - nothing was looked at")


@given(st.lists(FINDINGS, max_size=5))
def test_metrics_are_read_by_prometheus_own_parser(findings: list[Finding]) -> None:
    made = report(*findings)
    families = {one.name: one for one in text_string_to_metric_families(prometheus.text(made))}
    assert families["postmaster_health_status"].samples[0].value == made.status
    samples = [sample for family in families.values() for sample in family.samples]
    keys = [(one.name, tuple(sorted(one.labels.items()))) for one in samples]
    assert len(set(keys)) == len(keys)
    assert all(family.documentation and family.type == "gauge" for family in families.values())
    wrong = {one.problem for one in findings if one.severity}
    assert len(families["postmaster_health_problem"].samples) == len(wrong)


def test_a_metric_has_its_labels_and_value() -> None:
    finding = Finding(
        "dns",
        'a"b\\c',
        "bad",
        Severity.critical,
        "m",
        None,
        (Measure("time", 0.25, "s"), Measure("odd", math.inf)),
    )
    families = {one.name: one for one in text_string_to_metric_families(prometheus.text(report(finding)))}
    (problem,) = families["postmaster_health_problem"].samples
    assert (problem.labels, problem.value) == ({"check": "dns", "object": 'a"b\\c', "code": "bad"}, 2.0)
    measures = families["postmaster_health_measure"].samples
    assert [(one.labels["measure"], one.labels["unit"], one.value) for one in measures] == [
        ("time", "s", 0.25),
        ("odd", "", math.inf),
    ]
    assert families["postmaster_health_problem_since_timestamp_seconds"].samples[0].value == 9e8
