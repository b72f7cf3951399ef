from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.evaluation import charts

X = charts.Axis("epochs", [0, 5, 10])
Y = charts.Axis("<loss> & more", [0.0, 0.5, 1.0], ["0 %", "50 %", "100 %"])


def test_chart_is_well_formed_and_says_in_words_what_it_shows() -> None:
    marks: list[charts.Mark] = [
        charts.Line([0, 5, 10], [1, 0.5, 0.25], "one", "train"),
        charts.Bars([0, 2, 4], [0.5, 1.0], "two", "a < b"),
        charts.Rule(9.0, "threshold"),
        charts.Point(2.0, 0.25, "here"),
    ]
    root = ElementTree.fromstring(charts.draw(marks, x=X, y=Y, alternative='from "1" to 0.25'))
    assert (root.get("role"), root.get("aria-label")) == ("img", 'from "1" to 0.25')
    texts = [element.text for element in root.iter("text")]
    assert {"epochs", "<loss> & more", "50 %", "train", "a < b", "threshold", "here"} <= set(texts)


def test_dots_have_titles_and_their_name_in_the_middle() -> None:
    dots = charts.Dots([0, 5, 10], [0.0, 0.5, 1.0], "hue1", "<a>", ["one & only", "two", "three"])
    root = ElementTree.fromstring(charts.draw([dots], x=X, y=Y, alternative=""))
    assert [element.text for element in root.iter("title")] == ["one & only", "two", "three"]
    name = next(element for element in root.iter("text") if element.text == "<a>")
    middle = list(root.iter("circle"))[1]
    assert (name.get("x"), name.get("y")) == (middle.get("cx"), middle.get("cy"))


def test_lines_go_through_their_points() -> None:
    drawn = charts.draw([charts.Line([0, 10], [0, 1], "one")], x=X, y=Y, alternative="")
    left, right = charts.LEFT, charts.WIDTH - charts.RIGHT
    top, bottom = charts.TOP, charts.HEIGHT - charts.BOTTOM
    assert f'points="{left:.1f},{bottom:.1f} {right:.1f},{top:.1f}"' in drawn


def test_points_that_cannot_be_told_apart_are_drawn_once() -> None:
    values = np.linspace(0, 1, 100_000)
    drawn = charts.draw([charts.Line(10 * values, values, "one")], x=X, y=Y, alternative="")
    assert drawn.count(",") < 8000


def test_values_beyond_an_axis_are_moved_to_its_end() -> None:
    assert X.place([-5, 0, 2.5, 99]).tolist() == [0.0, 0.0, 0.25, 1.0]
    assert charts.Axis("", [0.01, 0.1, 1.0], scale=np.log10).place([0.0, 0.1]) == pytest.approx([0.0, 0.5])


@given(st.integers(-(10**6), 10**6), st.integers(0, 10**6))
def test_round_ticks_span_the_values_evenly(thousandths: int, span_thousandths: int) -> None:
    low, span = thousandths / 1000, span_thousandths / 1000
    ticks = charts.round_ticks(low, low + span)
    slack = 1e-6 * max(abs(low), span, 1)
    assert ticks[0] <= low + slack
    assert ticks[-1] >= low + span - slack
    assert 2 <= len(ticks) <= 9
    np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=1e-4)
