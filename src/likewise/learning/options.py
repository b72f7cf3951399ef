"""Checks of numbers given by hand: a refusal says what was given and what fits."""

from __future__ import annotations


def whole(owner: str, name: str, value: int, *, least: int = 1, most: int | None = None, step: int = 1) -> int:
    """Return `value`, a whole number from `least` to `most` and a multiple of `step`.

    Raises:
        ValueError: when it is not; names the nearest that fits.

    Example:
        >>> whole("conv", "width", 30, step=8)
        Traceback (most recent call last):
        ValueError: conv: width is 30, but must be a whole number >= 8 and a multiple of 8; the nearest is 32
    """
    least = -(-least // step) * step
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if is_whole and value >= least and (most is None or value <= most) and value % step == 0:
        return value
    bounds = f"from {least} to {most}" if most is not None else f">= {least}"
    steps = f" and a multiple of {step}" if step > 1 else ""
    hint = f"; the nearest is {_nearest(value, least, most, step)}" if is_whole else ""
    raise ValueError(f"{owner}: {name} is {value!r}, but must be a whole number {bounds}{steps}{hint}")


def _nearest(value: int, least: int, most: int | None, step: int) -> int:
    closest = max(least, (value + step // 2) // step * step)
    return closest if most is None else min(closest, most // step * step)
