"""The login form of a page: where it goes, and what it asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

FIELDS_LIMIT = 200
_USER_NAMES = ("user", "login", "email", "mail", "name")


@dataclass(slots=True)
class Form:
    """A form: where it goes, and its fields (type, name, value)."""

    action: str
    method: str
    fields: list[tuple[str, str, str]] = field(default_factory=list)

    def hidden(self) -> dict[str, str]:
        return {name: value for kind, name, value in self.fields if kind == "hidden" and name}

    def password_field(self) -> str:
        return next((name for kind, name, _ in self.fields if kind == "password"), "")

    def user_field(self) -> str | None:
        """The field for the login: of those for text the one whose name sounds so, else the first."""
        found = [name for kind, name, _ in self.fields if kind in ("text", "email") and name]
        for word in _USER_NAMES:
            for name in found:
                if word in name.lower():
                    return name
        return found[0] if found else None


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[Form] = []
        self._open: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form" and len(self.forms) < FIELDS_LIMIT:
            self._open = Form(given.get("action", ""), given.get("method", "get").lower())
            self.forms.append(self._open)
        elif tag == "input" and self._open is not None and len(self._open.fields) < FIELDS_LIMIT:
            kind = given.get("type", "text").lower()
            self._open.fields.append((kind, given.get("name", ""), given.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None


def login_form(text: str) -> Form | None:
    """The first form of a page that asks for a password, None where there is none."""
    parser = _Forms()
    try:
        parser.feed(text)
        parser.close()
    except (AssertionError, ValueError):  # what it may raise for a declaration that makes no sense
        pass
    return next((form for form in parser.forms if form.password_field()), None)
