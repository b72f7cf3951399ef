from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from likewise.data.sequences import MAX_POINTS, SequenceSpec, Unreadable, decode, levelled, resampled

RAW: dict[str, Any] = {"centre": False, "scale": False}


def walk(points: int = 20, columns: int = 3, *, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(points, columns)).cumsum(axis=0)


def csv_of(values: NDArray[np.float64], *names: str) -> bytes:
    lines = ([",".join(names)] if names else []) + [",".join(map(repr, row)) for row in values.tolist()]
    return "\n".join(lines).encode()


def reason(content: bytes | NDArray[Any], spec: SequenceSpec, **limits: int) -> str:
    with pytest.raises(Unreadable) as caught:
        decode(content, spec, **limits)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) <= 200
    return message


def on_lines(values: NDArray[np.float64], times: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Straight lines by their definition, a point and a column at a time."""
    found = np.empty((values.shape[1], length))
    for column in range(values.shape[1]):
        for index in range(length):
            wanted = times[0] + (times[-1] - times[0]) * index / (length - 1)
            after = next((i for i in range(1, len(times)) if times[i] >= wanted), len(times) - 1)
            share = (wanted - times[after - 1]) / (times[after] - times[after - 1])
            found[column, index] = (1 - share) * values[after - 1, column] + share * values[after, column]
    return found


@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 4), st.integers(0, 99), st.booleans())
@settings(deadline=None)
def test_resampling_against_a_loop(points: int, length: int, columns: int, seed: int, timed: bool) -> None:
    values = walk(points, columns, seed=seed)
    steps = np.random.default_rng(seed).uniform(0.1, 3, points)
    times = steps.cumsum() if timed else np.arange(points, dtype=float)
    found = resampled(values, length, time=times if timed else None)
    np.testing.assert_allclose(found, on_lines(values, times, length), atol=1e-9)
    np.testing.assert_array_equal(found[:, [0, -1]], values[[0, -1]].T)


def test_at_their_own_length_the_points_stay() -> None:
    values = walk()
    np.testing.assert_array_equal(resampled(values, 20), values.T)
    spec = SequenceSpec(20, 3, **RAW)
    found = decode(values, spec)
    assert found.dtype == spec.dtype
    assert found.shape == spec.shape
    np.testing.assert_array_equal(found, values.T.astype(np.float32))


def test_time_counts_and_is_not_a_channel() -> None:
    values = walk(4, 2)
    times = np.array([1e9, 1e9 + 1, 1e9 + 2, 1e9 + 6])
    wanted = on_lines(values, times, 7)
    table = np.column_stack([values[:, 0], times, values[:, 1]])
    for content, time in ((csv_of(table, "x", "t", "y"), "t"), (csv_of(table), 2), (table, 2)):
        found = decode(content, SequenceSpec(7, 2, time=time, **RAW))
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_of_points_at_the_same_time_the_last_counts() -> None:
    values, times = np.array([[0.0], [1.0], [5.0], [9.0], [7.0]]), np.array([0.0, 1.0, 1.0, 2.0, 2.0])
    np.testing.assert_array_equal(resampled(values, 5, time=times), [[0, 0.5, 5, 7, 7]])


def test_channels_are_chosen_by_name_or_number_in_any_order() -> None:
    values = walk()
    wanted = decode(values[:, [2, 0]], SequenceSpec(16, 2))
    stream = io.BytesIO()
    pq.write_table(pa.table(dict(zip("xyz", values.T, strict=True))), stream)
    for content in (csv_of(values, "x", "y", "z"), stream.getvalue()):
        np.testing.assert_array_equal(decode(content, SequenceSpec(16, ("z", "x"))), wanted)
        np.testing.assert_array_equal(decode(content, SequenceSpec(16, (3, "x"))), wanted)
    np.testing.assert_array_equal(decode(csv_of(values), SequenceSpec(16, (3, 1))), wanted)


@given(st.integers(2, 30), st.integers(1, 4), st.integers(0, 99), st.floats(1e-200, 1e20), st.floats(-100, 100))
@settings(deadline=None)
def test_levelled_sequences_have_no_mean_and_unit_size(
    points: int, columns: int, seed: int, size: float, shift: float
) -> None:
    values = walk(points, columns, seed=seed)
    found = decode((values + shift) * size, SequenceSpec(24, columns))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=1e-4)
    assert math.sqrt(np.square(found).mean()) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(found, decode(values, SequenceSpec(24, columns)), atol=1e-3)


def test_levelling_against_a_loop() -> None:
    points = walk(9, 2).T
    for centre in (True, False):
        for scale in (True, False):
            wanted = [[x - (sum(row) / 9 if centre else 0) for x in row] for row in points.tolist()]
            root = math.sqrt(sum(x * x for row in wanted for x in row) / 18) if scale else 1
            np.testing.assert_allclose(levelled(points, centre=centre, scale=scale), np.array(wanted) / root)


def test_only_the_channels_that_go_together_are_levelled() -> None:
    values = walk()
    found = decode(values, SequenceSpec(20, 3, together=2))
    np.testing.assert_array_equal(found[:2], decode(values[:, :2], SequenceSpec(20, 2)))
    np.testing.assert_array_equal(found[2], values[:, 2].astype(np.float32))


def test_differences_are_appended() -> None:
    values = walk()
    spec = SequenceSpec(11, 3, differences=True)
    found, plain = decode(values, spec), decode(values, SequenceSpec(11, 3))
    assert found.shape == spec.shape == (6, 11)
    np.testing.assert_array_equal(found[:3], plain)
    for channel in range(3):
        assert found[3 + channel, 0] == 0
        for index in range(1, 11):
            wanted = plain[channel, index] - plain[channel, index - 1]
            assert found[3 + channel, index] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("content", "spec", "message"),
    [
        (b"1,2\n", SequenceSpec(8, 2), "fewer than 2 points: 1"),
        (b"x,y\n", SequenceSpec(8, 2), "fewer than 2 points: 0"),
        (b"1,2,3\n4,5,6\n", SequenceSpec(8, 2), "3 columns, expected 2"),
        (b"x,y\n4,5\n", SequenceSpec(8, 3), "2 columns, expected 3 (there are x, y)"),
        (
            b"t,x,y\n4,5,6\n",
            SequenceSpec(8, 1, time="t"),
            "2 columns besides the time, expected 1 (there are t, x, y)",
        ),
        (b"x,y\n4,5\n", SequenceSpec(8, ("x", "z")), "no column 'z' (there are "),
        (b"4,5\n6,7\n", SequenceSpec(8, ("x",)), "no column 'x' (there is no header)"),
        (b"4,5\n6,7\n", SequenceSpec(8, (3,)), "no column 3: 2 columns"),
        (b"x,x\n6,7\n", SequenceSpec(8, ("x",)), "several columns are named 'x'"),
        (b"x,y\n1,2\n3,nan\n", SequenceSpec(8, 2), "row 2, column 'y': nan is not a finite number"),
        (b"1,2\n-inf,4\n", SequenceSpec(8, 2), "row 2, column 1: -inf is not a finite number"),
        (b"1,2\n3,1e31\n", SequenceSpec(8, 2), "row 2, column 2: 1e+31 is above 1e+30 in size"),
        (b"t,x\n1,2\n3,4\n2,5\n", SequenceSpec(8, 1, time="t"), "row 3: the time goes back"),
        (b"t,x\n1,2\n1,4\n", SequenceSpec(8, 1, time="t"), "the time stands still"),
        (b"0.1,2\n0.1,2\n0.1,2\n", SequenceSpec(8, 2), "constant: its 8 points are all the same"),
        (b"1,2\n1,2\n", SequenceSpec(8, 2, **RAW), "constant: its 8 points are all the same"),
        (b"1,2\n1,3\n", SequenceSpec(8, 2, together=1), "constant: the first 1 of its channels have no size to scale"),
    ],
)
def test_what_cannot_be_used_is_refused(content: bytes, spec: SequenceSpec, message: str) -> None:
    found = reason(content, spec)
    assert found.startswith(message) if message.endswith(" ") else found == message


def test_a_missing_number_of_a_parquet_is_refused() -> None:
    stream = io.BytesIO()
    pq.write_table(pa.table({"x": [1.0, 2.0], "y": [3.0, None]}), stream)
    assert reason(stream.getvalue(), SequenceSpec(8, 2)) == "row 2, column 'y': nan is not a finite number"


@pytest.mark.parametrize("seed", range(3))
def test_constants_stay_constants_whatever_rounding_does(seed: int) -> None:
    value = np.random.default_rng(seed).normal()
    assert "constant" in reason(np.full((7, 2), value), SequenceSpec(30, 2))


def test_a_sequence_of_other_than_the_wanted_length_is_refused() -> None:
    assert reason(walk(9), SequenceSpec(8, 3), min_points=10) == "fewer than 10 points: 9"
    assert reason(walk(11), SequenceSpec(8, 3), max_points=10) == "more than 10 points: 11"
    assert reason(np.ones((MAX_POINTS + 1, 1), np.int8), SequenceSpec(8, 1)).startswith(
        f"more than {MAX_POINTS} points"
    )


def test_a_small_parquet_of_many_points_is_refused_unread() -> None:
    stream = io.BytesIO()
    pq.write_table(pa.table({"x": np.zeros(MAX_POINTS + 1, np.int8)}), stream)
    assert len(stream.getvalue()) < 10_000
    assert reason(stream.getvalue(), SequenceSpec(8, 1)) == f"more than {MAX_POINTS} points: {MAX_POINTS + 1}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 1}, "length is 1: at least 2"),
        ({"channels": 0}, "channels is 0: at least 1"),
        ({"channels": ()}, r"channels is \(\): at least 1"),
        ({"together": 3}, "together is 3: it must be from 1 to the 2 channels"),
        ({"together": 0}, "together is 0"),
        ({"channels": ("x", "x")}, "'x' in channels .* give each column once"),
        ({"channels": ("x", "t"), "time": "t"}, "'t' in channels .* or time t: give each column once"),
        ({"channels": (0, 1)}, "0 in channels .* its number from 1 on"),
        ({"time": ""}, "'' in channels 2 or time"),
    ],
)
def test_a_shape_that_makes_no_sense_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequenceSpec(**{"length": 8, "channels": 2} | arguments)


@given(st.one_of(st.binary(max_size=60), st.text('0123456789.,;\t -e\n"#xyz', max_size=60).map(str.encode)))
@settings(deadline=None)
def test_any_bytes_give_finite_points_or_one_reason(content: bytes) -> None:
    try:
        found = decode(content, SequenceSpec(8, 2))
    except Unreadable:
        return
    assert found.shape == (2, 8)
    assert np.isfinite(found).all()
