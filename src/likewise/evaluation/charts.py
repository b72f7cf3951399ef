"""Charts as inline SVG: real text, no scripts, the same bytes for the same figures, a text alternative each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Scale = Callable[[Floats], Floats]

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 20, 28, 46
STYLE = """\
:root { --ink: #1c2430; --soft: #566070; --line: #d9dee6;
  --one: #1b66c9; --two: #c2571a; --bad: #b3261e; --good: #2d6a4f; }
.chart { width: 100%; height: auto; display: block;
  font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
.chart text { fill: var(--soft); }
.chart .axis, .chart .key { fill: var(--ink); }
.chart .axis { text-anchor: middle; }
.chart .note { fill: var(--bad); font-weight: 600; paint-order: stroke; stroke: #fff; stroke-width: 3px; }
.grid { stroke: var(--line); stroke-width: 1; fill: none; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.line.one { stroke: var(--one); } .line.two { stroke: var(--two); }
.line.thin { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 3; }
.bars.one { fill: var(--one); fill-opacity: .55; stroke: var(--one); }
.bars.two { fill: var(--two); fill-opacity: .4; stroke: var(--two); }
.swatch.one { fill: var(--one); } .swatch.two { fill: var(--two); }
.rule { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 5 3; fill: none; }
"""
"""The CSS of a page with charts: its colours, and how the marks are drawn."""


@dataclass(frozen=True)
class Axis:
    """One direction of a chart.

    Attributes:
        label: what is measured, with its unit.
        ticks: the values that are marked, the outermost at the ends of the axis.
        names: what is written at them; the numbers themselves where empty.
        scale: a rising map applied to values before they are placed, such as the probit.
    """

    label: str
    ticks: Sequence[float]
    names: Sequence[str] = ()
    scale: Scale = field(default=lambda values: values)

    def place(self, values: ArrayLike) -> Floats:
        """Return where values lie between the ends of the axis, 0 to 1, those beyond moved to the end."""
        low, high = self.scale(np.array([self.ticks[0], self.ticks[-1]], dtype=np.float64))
        inside = np.clip(np.asarray(values, dtype=np.float64), self.ticks[0], self.ticks[-1])
        share: Floats = (self.scale(inside) - low) / (high - low)
        return share

    def marks(self) -> list[tuple[float, str]]:
        """Return place and text of each tick."""
        names = self.names or [f"{tick:g}" for tick in self.ticks]
        return list(zip(self.place(self.ticks).tolist(), names, strict=True))


@dataclass(frozen=True)
class Line:
    """A broken line; `style` is one of the report's CSS classes, and `label` names it in the chart's key."""

    x: ArrayLike
    y: ArrayLike
    style: str
    label: str = ""


@dataclass(frozen=True)
class Bars:
    """Bars from the lower axis, touching each other: (bars + 1,) edges and (bars,) heights."""

    edges: ArrayLike
    heights: ArrayLike
    style: str
    label: str = ""


@dataclass(frozen=True)
class Rule:
    """A dashed line across the chart at a value of the lower axis, with a word beside it."""

    at: float
    label: str


@dataclass(frozen=True)
class Point:
    """A dot with a word beside it."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Dots:
    """Small dots, each with a title that shows while the pointer is over it; the label stands in their middle."""

    x: ArrayLike
    y: ArrayLike
    style: str
    label: str
    titles: Sequence[str]


Mark = Line | Bars | Rule | Point | Dots


@dataclass(frozen=True)
class Figure:
    """A chart with its heading and what to see in it."""

    title: str
    caption: str
    svg: str


def draw(marks: Sequence[Mark], *, x: Axis, y: Axis, alternative: str) -> str:
    """Return one chart as an `<svg>` element; `alternative` says in words what it shows."""
    parts = [*_grid(x, y), *(_DRAW[type(mark)](mark, x, y) for mark in marks), *_key(marks)]
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(alternative)}">'
        + "".join(parts)
        + "</svg>"
    )


def round_ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Return about `count` round numbers, evenly apart, from at most `low` to at least `high`.

    >>> round_ticks(0.03, 0.97)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low
    if span <= 1e-9 * max(abs(low), abs(high)):
        span = abs(high) or 1.0
    rough = span / count
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in np.arange(first, max(last, first + 1) + 1)]


def rate(share: float) -> str:
    """Return a share as it is written at an axis.

    >>> rate(0.05)
    '5 %'
    """
    return f"{share * 100:.3g} %"


def _grid(x: Axis, y: Axis) -> list[str]:
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
    parts = []
    for share, name in x.marks():
        at = _across(share)
        parts.append(f'<path class="grid" d="M{at} {top}V{bottom}"/>')
        parts.append(f'<text class="tick" x="{at}" y="{bottom + 16}" text-anchor="middle">{escape(name)}</text>')
    for share, name in y.marks():
        at = _up(share)
        parts.append(f'<path class="grid" d="M{left} {at}H{right}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{at}" dy="4" text-anchor="end">{escape(name)}</text>')
    middle = (top + bottom) // 2
    parts.append(f'<text class="axis" x="{(left + right) // 2}" y="{HEIGHT - 8}">{escape(x.label)}</text>')
    parts.append(f'<text class="axis" transform="translate(13 {middle}) rotate(-90)">{escape(y.label)}</text>')
    return parts


def _line(mark: Line, x: Axis, y: Axis) -> str:
    steps = zip(x.place(mark.x).tolist(), y.place(mark.y).tolist(), strict=True)
    points = (f"{_across(right)},{_up(up)}" for right, up in steps)
    # A curve of a million vertices has few that differ on the page.
    apart = " ".join(point for point, _ in groupby(points))
    return f'<polyline class="line {mark.style}" points="{apart}"/>'


def _bars(mark: Bars, x: Axis, y: Axis) -> str:
    edges, tops = x.place(mark.edges).tolist(), y.place(mark.heights).tolist()
    outline = "".join(f"V{_up(top)}H{_across(right)}" for top, right in zip(tops, edges[1:], strict=True))
    return f'<path class="bars {mark.style}" d="M{_across(edges[0])} {_up(0)}{outline}V{_up(0)}Z"/>'


def _rule(mark: Rule, x: Axis, _y: Axis) -> str:
    share = float(x.place(mark.at))
    at, left_half = _across(share), share < 0.5
    shift, anchor = (5, "start") if left_half else (-5, "end")
    return (
        f'<path class="rule" d="M{at} {TOP}V{HEIGHT - BOTTOM}"/>'
        f'<text class="note" x="{at}" dx="{shift}" y="{TOP + 12}" text-anchor="{anchor}">{escape(mark.label)}</text>'
    )


def _point(mark: Point, x: Axis, y: Axis) -> str:
    right, up = float(x.place(mark.x)), float(y.place(mark.y))
    shift, anchor = (8, "start") if right < 0.5 else (-8, "end")
    return (
        f'<circle class="point" cx="{_across(right)}" cy="{_up(up)}" r="4"/>'
        f'<text class="note" x="{_across(right)}" dx="{shift}" y="{_up(up)}" dy="{-8 if up < 0.5 else 16}" '
        f'text-anchor="{anchor}">{escape(mark.label)}</text>'
    )


def _dots(mark: Dots, x: Axis, y: Axis) -> str:
    places = zip(x.place(mark.x).tolist(), y.place(mark.y).tolist(), mark.titles, strict=True)
    dots = (
        f'<circle cx="{_across(right)}" cy="{_up(up)}" r="3"><title>{escape(title)}</title></circle>'
        for right, up, title in places
    )
    middle = (float(np.median(np.asarray(values, dtype=np.float64))) for values in (mark.x, mark.y))
    at = (float(axis.place(value)) for axis, value in zip((x, y), middle, strict=True))
    name = '<text class="name" x="{}" y="{}" dy="4" text-anchor="middle">{}</text>'.format(
        *(place(share) for place, share in zip((_across, _up), at, strict=True)), escape(mark.label)
    )
    return f'<g class="dots {mark.style}">{"".join(dots)}{name if mark.label else ""}</g>'


def _key(marks: Sequence[Mark]) -> list[str]:
    """Return a name for each line and bar that has one, side by side above the plot."""
    named = [mark for mark in marks if isinstance(mark, Line | Bars) and mark.label]
    return [
        f'<rect class="swatch {mark.style}" x="{LEFT + 90 * place}" y="8" width="10" height="10"/>'
        f'<text class="key" x="{LEFT + 90 * place + 15}" y="17">{escape(mark.label)}</text>'
        for place, mark in enumerate(named)
    ]


def _across(share: float) -> str:
    return f"{LEFT + share * (WIDTH - LEFT - RIGHT):.1f}"


def _up(share: float) -> str:
    return f"{HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM):.1f}"


_DRAW: dict[type, Callable[..., str]] = {Line: _line, Bars: _bars, Rule: _rule, Point: _point, Dots: _dots}
