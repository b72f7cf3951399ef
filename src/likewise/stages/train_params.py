"""What the `train` block of params.yaml may hold, and what fits together; no PyTorch, so that checking is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from likewise.config import Block

ANY_DISTANCE = ("euclidean", "squared_euclidean", "cosine", "manhattan")
COSINE = ("cosine",)
OPTIONS = ("margin", "mining", "temperature", "scale")
"""Keys of the block that only some losses take; null leaves the loss its own."""


@dataclass(frozen=True)
class Rules:
    """What a loss eats, which of the options it takes, and which distances it is defined on."""

    feeds: tuple[str, ...]
    options: tuple[str, ...]
    distances: tuple[str, ...]


PAIRWISE = ("classes", "pairs")
LOSSES = {
    "contrastive": Rules(PAIRWISE, ("margin",), ANY_DISTANCE),
    "binary": Rules(PAIRWISE, ("scale",), ANY_DISTANCE),
    "binary_l1": Rules(PAIRWISE, ("scale",), ("manhattan",)),
    "triplet": Rules(("classes", "triplets"), ("margin", "mining"), ANY_DISTANCE),
    "n_pair": Rules(("classes",), ("temperature",), COSINE),
    "ntxent": Rules(("classes",), ("temperature",), COSINE),
    "supcon": Rules(("classes",), ("temperature",), COSINE),
    "multi_similarity": Rules(("classes",), (), COSINE),
    "circle": Rules(("classes",), ("margin", "scale"), COSINE),
    "ge2e": Rules(("classes",), ("scale",), COSINE),
    "proxy_nca": Rules(("classes",), (), COSINE),
    "proxy_nca_plus": Rules(("classes",), ("temperature",), COSINE),
    "proxy_anchor": Rules(("classes",), ("margin", "scale"), COSINE),
    "proxy_triplet": Rules(("classes",), ("margin",), ANY_DISTANCE),
    "arcface": Rules(("classes",), ("margin", "scale"), COSINE),
    "cosface": Rules(("classes",), ("margin", "scale"), COSINE),
}
"""What goes with each loss; a test holds it against the losses themselves."""


class Augment(Block):
    """The `train.augment` block: the strength of each change of the images, 0 for none."""

    flip: float = Field(ge=0, le=1)
    shift: float = Field(ge=0, le=1)
    rotation: float = Field(ge=0, le=180)
    scale: float = Field(ge=0, le=10)
    shear: float = Field(ge=0, le=80)
    elastic: float = Field(ge=0, le=1)
    brightness: float = Field(ge=0, le=1)
    contrast: float = Field(ge=0, le=10)
    gamma: float = Field(ge=0, le=10)
    blur: float = Field(ge=0, le=20)
    erase: float = Field(ge=0, le=1)


class Params(Block):
    """The `train` block of params.yaml."""

    feed: Literal["classes", "pairs", "triplets"]
    encoder: Literal["conv", "resnet", "vit", "tdnn", "mlp"]
    embedding: int = Field(ge=2, le=2048)
    normalise: bool
    initialiser: Literal["default", "kaiming", "xavier", "orthogonal", "truncated_normal"]
    distance: Literal["euclidean", "squared_euclidean", "cosine", "manhattan"]
    loss: Literal[
        "contrastive",
        "binary",
        "binary_l1",
        "triplet",
        "n_pair",
        "ntxent",
        "supcon",
        "multi_similarity",
        "circle",
        "ge2e",
        "proxy_nca",
        "proxy_nca_plus",
        "proxy_anchor",
        "proxy_triplet",
        "arcface",
        "cosface",
    ]
    margin: float | None = Field(ge=0)
    mining: Literal["all", "semihard", "nearest_semihard", "hard", "easy_positive", "distance_weighted"] | None
    temperature: float | None = Field(gt=0)
    scale: float | None = Field(gt=0)
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop"]
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    schedule: Literal["constant", "cosine", "one_cycle"]
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    classes_per_batch: int = Field(ge=2)
    samples_per_class: int = Field(ge=2)
    keep: Literal["best", "last"]
    patience: int = Field(ge=0)
    clip: float = Field(ge=0)
    precision: Literal["fp32", "bf16"]
    device: Literal["auto", "cpu", "cuda"]
    threads: int = Field(ge=1, le=1024)
    seed: int = Field(ge=0)
    augment: Augment

    @model_validator(mode="after")
    def _fits(self) -> Params:
        rules = LOSSES[self.loss]
        self._one_of("feed", self.feed, rules.feeds)
        self._one_of("distance", self.distance, rules.distances)
        for option in OPTIONS:
            if getattr(self, option) is not None and option not in rules.options:
                taken = ", ".join(rules.options) or "none of these keys"
                raise ValueError(f"loss {self.loss} takes no {option}: set {option}: null (it takes {taken})")
        return self

    def options(self) -> dict[str, float | str]:
        """Return the loss's options that are given."""
        return {name: getattr(self, name) for name in OPTIONS if getattr(self, name) is not None}

    def _one_of(self, key: str, given: str, allowed: tuple[str, ...]) -> None:
        if given not in allowed:
            raise ValueError(f"loss {self.loss} does not go with {key} {given}; allowed: {', '.join(allowed)}")
