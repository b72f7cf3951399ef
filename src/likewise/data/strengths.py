"""What the augmentations of all kinds share: a strength for each change, from 0 (off) to a limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class Strengths:
    """A base for dataclasses of strengths; `limits` names each with the most that it may be.

    Raises:
        ValueError: when a strength is below 0 or above its limit.
    """

    limits: ClassVar[Mapping[str, float]]

    def __post_init__(self) -> None:
        for name, most in self.limits.items():
            given = getattr(self, name)
            if not 0 <= given <= most:
                raise ValueError(f"augmentation: {name} is {given}, but must be from 0 (off) to {most:g}")

    @property
    def off(self) -> bool:
        """Whether nothing is changed."""
        return not any(getattr(self, name) for name in self.limits)
