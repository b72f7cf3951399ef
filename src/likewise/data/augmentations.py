"""The augmentation of each kind of samples, by the kind's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from likewise.choices import choose
from likewise.data.augment import Augmentation
from likewise.data.augment_sequences import SequenceAugmentation
from likewise.data.augment_sounds import SoundAugmentation
from likewise.data.augment_texts import TextAugmentation


class Augment(Protocol):
    """Changes a batch of samples at random, on its device."""

    def __call__(self, batch: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return changed copies of the samples (n, ...); the generator is a CPU one."""


def build(preprocessing: Mapping[str, Any], strengths: Mapping[str, Mapping[str, float] | None]) -> Augment:
    """Return the augmentation of samples by what is wanted for their kind; nothing wanted changes nothing.

    Args:
        preprocessing: the samples', as `Preprocessing.describe` gives it.
        strengths: by kind the strengths of the changes, or None.

    Raises:
        ValueError: when something is wanted for another kind, or a strength is refused.

    Example:
        >>> build({"kind": "text", "length": 9}, {"image": None, "text": {"cut": 0.1}})
        TextAugmentation(cut=0.1, dropout=0.0)
        >>> build({"kind": "text", "length": 9}, {"image": {"flip": 0.5}})
        Traceback (most recent call last):
        ValueError: train.augment.image: the samples are of the kind text; set it to null
    """
    kind = preprocessing["kind"]
    for other, wanted in strengths.items():
        if wanted is not None and other != kind:
            raise ValueError(f"train.augment.{other}: the samples are of the kind {kind}; set it to null")
    options: dict[str, Any] = dict(strengths.get(kind) or {})
    if kind == "sequence":
        # Differences are channels of their own, and change with the points that they are of.
        options["differences"] = preprocessing["differences"]
    augmentation: Augment = choose("kind", kind, AUGMENTATIONS)(**options)
    return augmentation


AUGMENTATIONS: dict[str, Any] = {
    "image": Augmentation,
    "audio": SoundAugmentation,
    "sequence": SequenceAugmentation,
    "text": TextAugmentation,
}
