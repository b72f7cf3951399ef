"""The report as a person opens it: from disk, in a real browser, on a desk, on a phone and on paper."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from likewise import artifacts
from tests.browser import Page, chromium
from tests.projects import Project

PHONE = 390


@pytest.fixture(scope="module")
def page(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("browser")) as opened:
        yield opened.open((finished.root / artifacts.REPORT.path).as_uri())


def test_it_needs_nothing_but_itself(page: Page) -> None:
    assert [address.split(":")[0] for address in page.asked if not address.startswith("data:")] == ["file"]
    assert page.complaints == []
    assert page.evaluate("document.scripts.length") == 0
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def test_every_picture_has_words(page: Page) -> None:
    assert page.evaluate("document.images.length") > 20
    assert page.evaluate("[...document.images].every(image => image.alt.trim().length > 5)")
    assert page.evaluate("document.querySelectorAll('svg').length") >= 4
    assert page.evaluate("[...document.querySelectorAll('svg')].every(svg => svg.getAttribute('aria-label'))")


def test_every_dot_of_a_map_has_a_name(page: Page) -> None:
    assert page.evaluate("document.querySelectorAll('.dots circle').length") > 50
    assert page.evaluate("[...document.querySelectorAll('.dots circle')].every(dot => dot.firstChild.textContent)")


def test_right_and_wrong_have_their_colours(page: Page) -> None:
    colours = page.evaluate(
        "[...document.querySelectorAll('.score b:not(.plain)')].map(e => [e.innerText, getComputedStyle(e).color])"
    )
    named = "(e => { e.style.color = 'var(--%s)'; return getComputedStyle(document.body.appendChild(e)).color; })"
    good, bad = (page.evaluate(f"{named % name}(document.createElement('b'))") for name in ("good", "bad"))
    assert {tuple(each) for each in colours} == {("right", good), ("wrong", bad)}


def test_its_figures_are_those_that_dvc_reads(page: Page, finished: Project) -> None:
    metrics = json.loads((finished.root / artifacts.METRICS.path).read_text(encoding="utf-8"))
    from likewise.evaluation.figures import percent

    assert percent(metrics["verification"]["eer"]) in page.text()
    assert percent(metrics["retrieval"]["map_at_r"]) in page.text()


@pytest.mark.parametrize(("width", "mobile"), [(1280, False), (PHONE, True)])
def test_nothing_is_wider_than_the_window(page: Page, width: int, mobile: bool) -> None:
    page.size(width, 800, mobile=mobile)
    assert page.evaluate("innerWidth") == width
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = "[...document.querySelectorAll('p, td, th, li')].filter(e => parseFloat(getComputedStyle(e).fontSize) < 11)"
    assert page.evaluate(f"{small}.length") == 0
