"""Pages of a webmail: which form is a login."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postmaster.health.forms import login_form

_HTML = st.text(alphabet=st.sampled_from("<>/=\"' abformipusinteypwordh!-&;?[]"), max_size=200)


@given(_HTML | st.text(max_size=80))
def test_any_page_is_read(text: str) -> None:
    form = login_form(text)
    assert form is None or form.password_field()


def test_the_form_of_a_login_page() -> None:
    page = (
        '<form action="/search"><input name=q></form><form method=POST action="?task=login">'
        "<input type=hidden name=_token value=a&amp;b><input name=_timezone><input name=_user>"
        "<input type=password name=_pass></form>"
    )
    form = login_form(page)
    assert form is not None
    assert (form.action, form.method, form.hidden()) == ("?task=login", "post", {"_token": "a&b"})
    assert (form.user_field(), form.password_field()) == ("_user", "_pass")
