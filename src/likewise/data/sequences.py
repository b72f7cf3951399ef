"""From an encoded sequence, or an array, to points of one fixed shape."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likewise.choices import nearest_first
from likewise.data.raw import Unreadable
from likewise.data.sequence_files import Numbers, Values, numbers_in

__all__ = ["MAX_POINTS", "MAX_VALUE", "MIN_POINTS", "SequenceSpec", "Unreadable", "decode"]

MIN_POINTS = 2
"""Sequences with fewer points are refused where no other limit is given."""

MAX_POINTS = 1 << 20
"""Longer sequences are refused where no other limit is given: a small file can ask for any amount of memory."""

MAX_VALUE = 1e30
"""Larger numbers are refused: their differences would not fit single precision."""

Column = str | int
"""A column's name in the header, or its number, counted from 1."""

Points = NDArray[np.float32]


@dataclass(frozen=True)
class SequenceSpec:
    """The shape that every sequence takes.

    A column is named as in the file's header, or by its number, counted from 1.

    Args:
        length: Points of the result.
        channels: How many columns a file has besides the time, or which ones to take, in this order.
        time: The column that holds the time of each point; None: the points are one unit apart.
        centre: Whether each channel's mean is taken off.
        scale: Whether all channels are then divided by one number, the root of their mean square, so that
            proportions stay.
        together: How many channels, from the first on, `centre` and `scale` measure and change, such as 2 for x and y
            and not the pressure; None: all.
        differences: Whether the first differences of all channels are appended as channels.

    Raises:
        ValueError: for a value out of its range, or a column that is there twice.
    """

    length: int
    channels: int | tuple[Column, ...]
    time: Column | None = None
    centre: bool = True
    scale: bool = True
    together: int | None = None
    differences: bool = False

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ValueError(f"length is {self.length}: at least 2 points are needed")
        if self.count < 1:
            raise ValueError(f"channels is {self.channels}: at least 1 is needed")
        if self.together is not None and not 1 <= self.together <= self.count:
            raise ValueError(f"together is {self.together}: it must be from 1 to the {self.count} channels, or null")
        named = [self.time] if self.time is not None else []
        named += () if isinstance(self.channels, int) else self.channels
        for column in named:
            if named.count(column) > 1 or column == "" or (isinstance(column, int) and column < 1):
                raise ValueError(
                    f"{column!r} in channels {self.channels} or time {self.time}: give each column once, by its name "
                    "or its number from 1 on"
                )

    @property
    def count(self) -> int:
        """Channels that are read from a file."""
        return self.channels if isinstance(self.channels, int) else len(self.channels)

    @property
    def shape(self) -> tuple[int, int]:
        """Channels, length."""
        return self.count * (1 + self.differences), self.length

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Single precision."""
        return np.dtype(np.float32)


def decode(
    content: bytes | NDArray[Any], spec: SequenceSpec, *, min_points: int = MIN_POINTS, max_points: int = MAX_POINTS
) -> Points:
    r"""Return the sequence as float32 (channels, length), the same for the same input.

    The points of `resampled`, then `levelled`, then their first differences below them where they are wanted: 0, then
    `x[i] - x[i - 1]`.

    Args:
        content: An encoded CSV, NPY or Parquet file, as `numbers_in` reads them, or numbers (points, columns).
        spec: The wanted shape.
        min_points: Shorter sequences are refused.
        max_points: Longer ones are refused, unread where the file says how long it is.

    Raises:
        Unreadable: for the reasons of `numbers_in`, or too short, too long, other columns, numbers that are missing,
            infinite or above `MAX_VALUE`, a time that goes back, or the same number everywhere.

    Example:
        >>> decode(b"x,y\n0,0\n4,2\n", SequenceSpec(length=3, channels=2, centre=False, scale=False))
        array([[0., 2., 4.],
               [0., 1., 2.]], dtype=float32)
    """
    numbers = numbers_in(content)
    if numbers.rows > max_points:
        raise Unreadable(f"more than {max_points} points: {numbers.rows}")
    times, channels = _places(numbers, spec)
    values = numbers.read([*times, *channels])
    if len(values) < min_points:
        raise Unreadable(f"fewer than {min_points} points: {len(values)}")
    _check_values(values, numbers, [*times, *channels])
    _check_time(values[:, : len(times)])
    time = values[:, 0] if times else None
    return _finished(resampled(values[:, len(times) :], spec.length, time=time), spec)


def resampled(values: Values, length: int, *, time: Values | None = None) -> Values:
    """Return the points at evenly spaced times from the first to the last: float64 (columns, length).

    Between two points lies a straight line. Of several points with the same time the last counts. Nothing is smoothed:
    what is shorter than a step of the result may fall between two of its points.

    Args:
        values: (points, columns), at least 2 points.
        length: Points of the result, at least 2.
        time: Of each point (points,), never falling; their places by default.

    Example:
        >>> resampled(np.array([[0.0], [1.0], [9.0]]), 3, time=np.array([0.0, 6.0, 8.0]))
        array([[0.        , 0.66666667, 9.        ]])
    """
    since = np.arange(len(values)) if time is None else time - time[0]
    wanted = np.linspace(0, since[-1], length)
    return np.stack([np.interp(wanted, since, column) for column in values.T])


def levelled(points: Values, *, centre: bool, scale: bool) -> Values:
    """Return `(x - m) / r`: m is each channel's mean, or 0, and r the root of the mean of all `(x - m) ** 2`, or 1.

    Args:
        points: (channels, length), not all 0.
        centre: Whether the mean is taken off.
        scale: Whether the result is divided.

    Example:
        >>> levelled(np.array([[1.0, 3.0], [5.0, 5.0]]), centre=True, scale=False)
        array([[-1.,  1.],
               [ 0.,  0.]])
    """
    if centre:
        points = points - points.mean(axis=1, keepdims=True)
    if scale:
        # By the largest first, whose square could otherwise be 0.
        points = points / np.abs(points).max()
        points = points / np.sqrt(np.square(points).mean())
    return points


def _places(numbers: Numbers, spec: SequenceSpec) -> tuple[list[int], list[int]]:
    """Return the places of the time, none or one, and of the channels."""
    times = [] if spec.time is None else [_place(numbers, spec.time)]
    if not isinstance(spec.channels, int):
        return times, [_place(numbers, column) for column in spec.channels]
    channels = [place for place in range(numbers.width) if place not in times]
    if len(channels) != spec.channels:
        besides = " besides the time" if times else ""
        raise Unreadable(f"{len(channels)} columns{besides}, expected {spec.channels}{_listed(numbers.names)}")
    return times, channels


def _place(numbers: Numbers, column: Column) -> int:
    if isinstance(column, int):
        if column > numbers.width:
            raise Unreadable(f"no column {column}: {numbers.width} columns")
        return column - 1
    if column not in numbers.names:
        known = _listed(nearest_first(column, numbers.names).split(", ")) if numbers.names else " (there is no header)"
        raise Unreadable(f"no column {column!r}{known}")
    if numbers.names.count(column) > 1:
        raise Unreadable(f"several columns are named {column!r}")
    return numbers.names.index(column)


def _listed(names: Sequence[str]) -> str:
    return f" (there are {', '.join(names)})"[:200] if names else ""


def _check_values(values: Values, numbers: Numbers, places: Sequence[int]) -> None:
    # Written so that NaN is found.
    wrong = np.argwhere(~(np.abs(values) <= MAX_VALUE))
    if len(wrong):
        row, place = wrong[0]
        value = values[row, place]
        why = f"above {MAX_VALUE:g} in size" if np.isfinite(value) else "not a finite number"
        raise Unreadable(f"row {row + 1}, {numbers.label(places[place])}: {value:g} is {why}")


def _check_time(time: Values) -> None:
    back = np.argwhere(np.diff(time, axis=0) < 0)
    if len(back):
        raise Unreadable(f"row {back[0, 0] + 2}: the time goes back")
    if time.size and time[0] == time[-1]:
        raise Unreadable("the time stands still")


def _finished(points: Values, spec: SequenceSpec) -> Points:
    body = points[: spec.together]
    if not np.ptp(points, axis=1).any():
        raise Unreadable(f"constant: its {spec.length} points are all the same")
    if spec.scale and not np.ptp(body, axis=1).any():
        raise Unreadable(f"constant: the first {spec.together} of its channels have no size to scale")
    points = np.concatenate([levelled(body, centre=spec.centre, scale=spec.scale), points[len(body) :]])
    if spec.differences:
        points = np.concatenate([points, np.diff(points, axis=1, prepend=points[:, :1])])
    return points.astype(np.float32)
