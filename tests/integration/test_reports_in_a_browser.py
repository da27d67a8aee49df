"""Reports as a real browser shows them: on a phone and on a desk, by day and in the dark.

The pictures are kept in build/pages, to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from postmaster.health.finding import Severity
from postmaster.health.report import Report, words
from postmaster.health.report.html import page
from postmaster.health.report.mail import message
from tests.conftest import IN_CI
from tests.tools.browser import Browser, browser, missing
from tests.tools.documented import ROOT
from tests.tools.reports import all_well, everything

PICTURES = ROOT / "build" / "pages"
SIZES = {"phone": (360, 740), "desk": (1280, 900)}

#: Every text that is shown: what it says, its box, its contrast (WCAG 2.2) against what is behind it.
LOOK = r"""
const luminance = ([r, g, b]) => {
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const [R, G, B] = [r, g, b].map(v => linear(v / 255));
  return 0.2126 * R + 0.7152 * G + 0.0722 * B;
};
const parts = colour => {
  const found = colour.match(/[\d.]+/g).map(Number);
  return found.length < 4 ? [...found, 1] : found;
};
const behind = element => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parts(getComputedStyle(at).backgroundColor);
    if (colour[3] === 1) return colour;
    if (colour[3] > 0) throw new Error('half transparent: ' + at.outerHTML.slice(0, 200));
  }
  return [255, 255, 255, 1];
};
const contrast = (one, other) => {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
};
const texts = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const text = walker.currentNode.textContent.trim();
  if (!text) continue;
  const range = document.createRange();
  range.selectNodeContents(walker.currentNode);
  const box = range.getBoundingClientRect(), element = walker.currentNode.parentElement;
  const style = getComputedStyle(element);
  texts.push({text, width: box.width, height: box.height, left: box.left, right: box.right,
    size: parseFloat(style.fontSize),
    shown: element.checkVisibility({opacityProperty: true, visibilityProperty: true}),
    contrast: contrast(parts(style.color), behind(element))});
}
const curves = [...document.querySelectorAll('path.line, path.column')].map(path => {
  const style = getComputedStyle(path);
  const colour = path.classList.contains('line') ? style.stroke : style.fill;
  return {contrast: contrast(parts(colour), behind(path.closest('figure'))),
    width: path.closest('svg').getBoundingClientRect().width};
});
return {texts, curves, ground: parts(getComputedStyle(document.body).backgroundColor).slice(0, 3),
  inner: document.documentElement.clientWidth, content: document.documentElement.scrollWidth,
  wide: [...document.body.querySelectorAll('*')]
    .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
    .map(e => e.outerHTML.slice(0, 200)),
  scripts: document.querySelectorAll('script, iframe, object, embed, link, img, [onload], [onclick]').length};
"""


def mail_page(report: Report) -> str:
    body = message(report).get_body(("html",))
    assert body is not None
    return str(body.get_content())


#: Name -> the report, how it is rendered, whether it shows every finding.
PAGES: dict[str, tuple[Report, Callable[[Report], str], bool]] = {
    "page": (everything(), page, True),
    "page-well": (all_well(), page, True),
    "mail": (everything(), mail_page, False),
}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, no_process_left_over: None) -> Iterator[Browser]:
    reason = missing()
    if reason is not None and IN_CI:
        pytest.fail(reason)
    if reason is not None:
        pytest.skip(reason)
    with browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


def test_on_a_phone_and_on_a_desk_by_day_and_in_the_dark(shown: Browser, tmp_path: Path) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, (report, render, all_of_it) in PAGES.items():
        file = tmp_path / f"{name}.html"
        file.write_text(render(report), encoding="utf-8")
        for size, (width, height) in SIZES.items():
            for dark in (False, True):
                case = f"{name}-{size}-{'dark' if dark else 'light'}"
                asked = shown.open(file, width, height, dark=dark)
                assert asked == [file.as_uri()], case
                look = shown.ask(LOOK)
                shown.picture(PICTURES / f"{case}.png", width)
                judge(look, case, width, dark)
                told = " ".join(" ".join(one["text"] for one in look["texts"]).split())
                for one in report.findings:
                    if all_of_it or (one.open and one.finding.severity is not Severity.ok):
                        assert one.finding.object in told, case
                        assert one.finding.message in told, case
                        assert (one.finding.remedy or "") in told, case
                    if one.acknowledged is not None:
                        assert "acknowledged by root" in told.lower(), case
                assert words.capital(words.headline(report)) in told, case
                assert len(look["curves"]) == render(report).count("<svg"), case


def test_a_page_that_is_not_as_it_should_be_is_seen(shown: Browser, tmp_path: Path) -> None:
    """Else the other test would prove nothing."""
    (tmp_path / "other.css").write_text("p { margin: 0 }")
    file = tmp_path / "bad.html"
    file.write_text(
        "<!doctype html><title>x</title><meta name=viewport content='width=device-width'>"
        "<link rel=stylesheet href=other.css>"
        "<body style='background: #fff'><p style='width: 900px; color: #999'>pale</p>"
        "<p style='opacity: 0'>hidden</p><p style='font-size: 0'>nothing</p><script>1</script>"
    )
    asked = shown.open(file, 360, 740, dark=True)
    assert asked == [file.as_uri(), (tmp_path / "other.css").as_uri()]
    look = shown.ask(LOOK)
    pale, hidden, nothing = (one for one in look["texts"] if one["text"] in ("pale", "hidden", "nothing"))
    assert (round(pale["contrast"], 2), hidden["shown"], nothing["height"]) == (2.85, False, 0)
    assert look["content"] > 360
    assert len(look["wide"]) == 1
    assert look["scripts"] == 2
    with pytest.raises(AssertionError):
        judge(look, "bad", 360, dark=True)


def judge(look: Any, case: str, width: int, dark: bool) -> None:
    assert look["inner"] == width, case
    assert look["content"] <= width, case
    assert look["wide"] == [], case
    assert look["scripts"] == 0, case
    assert (sum(look["ground"]) < 3 * 60) is dark, case
    for one in look["texts"]:
        assert one["shown"], (case, one)
        if one["text"] == "\xa0":  # what keeps cards of a mail apart
            continue
        assert one["width"] > 0, (case, one)
        assert one["height"] > 0, (case, one)
        assert one["left"] >= 0, (case, one)
        assert one["right"] <= width, (case, one)
        assert one["size"] >= 12, (case, one)
        assert one["contrast"] >= 4.5, (case, one)  # AA, of large text more than is asked
    for curve in look["curves"]:
        assert curve["contrast"] >= 3, (case, curve)  # WCAG 1.4.11
        assert curve["width"] > 100, (case, curve)
