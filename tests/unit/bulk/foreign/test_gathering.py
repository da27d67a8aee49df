"""What importers share: alias domains that are settled at the end, and rights to send."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from postmaster.bulk.foreign.gathering import Gathered
from postmaster.directory.entries import AliasEntry, DomainEntry, GrantEntry, UserEntry

_names = st.sampled_from(["a.test", "b.test", "C.test", "c.test", "d.test", "no domain"])
_locals = st.sampled_from(["", "x", "y"])


def empty() -> Gathered:
    return Gathered(Path("/srv/mail"), Path("/var/vmail"))


@settings(max_examples=60)
@given(
    st.lists(_names, max_size=4),
    st.lists(_names, max_size=4),
    st.lists(st.tuples(_locals, _names)),
    st.lists(st.tuples(_names, _names)),
)
def test_a_domain_is_named_once_and_an_alias_domain_has_no_addresses(
    domains: list[str], homes: list[str], aliases: list[tuple[str, str]], twins: list[tuple[str, str]]
) -> None:
    into = empty()
    for name in dict.fromkeys(one.lower() for one in domains):
        into.domain("", name)
    for name in homes:
        into.user("", f"amy@{name}")
    for local, name in aliases:
        into.alias("", f"{local}@{name}", ["x@elsewhere.test"])
    for name, of in twins:
        into.alias("", f"@{name}", [f"@{of}"])
    into.settle()
    entries = [one.entry for one in into.wanted.listed]
    made = [one for one in entries if isinstance(one, DomainEntry)]
    named = [one.domain.ascii for one in made]
    assert len(named) == len(set(named))
    bare = {one.domain.ascii for one in made if one.alias_of is not None}
    assert not bare & {one.home.ascii for one in entries if isinstance(one, UserEntry | AliasEntry)}
    wanted = {name.lower() for name, of in twins if "no domain" not in (name, of)}
    assert wanted <= set(named)
    assert wanted - bare == {one.lower() for one in homes} & wanted
    given_up = {one.title for one in entries if isinstance(one, AliasEntry)}
    for local, name in aliases:
        title = f"{local}@{name.lower()}"
        said = any(f"alias {title} is left out" in note for note in into.wanted.notes)
        assert name == "no domain" or (title in given_up) is not said


def test_only_users_may_send_as_where_an_address_leads() -> None:
    into = empty()
    into.senders(
        "", "team@a.test", ["Amy@a.test", "amy@a.test", "x@elsewhere.test", "team@a.test"], {"amy@a.test"}
    )
    (one,) = into.wanted.listed
    assert isinstance(one.entry, GrantEntry)
    assert one.entry.title == "amy@a.test as team@a.test"
