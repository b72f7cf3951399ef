"""What the `train` block of params.yaml may hold, and what fits together; no PyTorch, so that checking is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from likewise.config import Block, nearest
from likewise.stages.augment_params import Augment

WIDEST = 8192
"""The most numbers that an embedding may have."""
ANY_DISTANCE = ("euclidean", "squared_euclidean", "cosine", "manhattan")
COSINE = ("cosine",)
OPTIONS = ("margin", "mining", "temperature", "scale")
"""Keys of the block that only some losses take; null leaves the loss its own."""


@dataclass(frozen=True)
class Rules:
    """What a loss eats, which of the options it takes, and which distances it is defined on.

    `learns`: it has weights of its own, which may have a learning rate of their own. `remembers`: it can compare
    with past embeddings.
    """

    feeds: tuple[str, ...]
    options: tuple[str, ...]
    distances: tuple[str, ...]
    learns: bool = False
    remembers: bool = False


PAIRWISE = ("classes", "pairs")
LOSSES = {
    "contrastive": Rules(PAIRWISE, ("margin",), ANY_DISTANCE, remembers=True),
    "binary": Rules(PAIRWISE, ("scale",), ANY_DISTANCE, learns=True, remembers=True),
    "binary_l1": Rules(PAIRWISE, ("scale",), ("manhattan",), learns=True, remembers=True),
    "triplet": Rules(("classes", "triplets"), ("margin", "mining"), ANY_DISTANCE, remembers=True),
    "n_pair": Rules(("classes",), ("temperature",), COSINE),
    "ntxent": Rules(("classes",), ("temperature",), COSINE),
    "supcon": Rules(("classes",), ("temperature",), COSINE),
    "multi_similarity": Rules(("classes",), (), COSINE),
    "circle": Rules(("classes",), ("margin", "scale"), COSINE),
    "ge2e": Rules(("classes",), ("scale",), COSINE, learns=True),
    "proxy_nca": Rules(("classes",), (), COSINE, learns=True),
    "proxy_nca_plus": Rules(("classes",), ("temperature",), COSINE, learns=True),
    "proxy_anchor": Rules(("classes",), ("margin", "scale"), COSINE, learns=True),
    "proxy_triplet": Rules(("classes",), ("margin",), ANY_DISTANCE, learns=True),
    "arcface": Rules(("classes",), ("margin", "scale"), COSINE, learns=True),
    "cosface": Rules(("classes",), ("margin", "scale"), COSINE, learns=True),
}
"""What goes with each loss; a test holds it against the losses themselves."""

SUMMED = ("all", "semihard", None)
"""The minings that a memory goes with."""

ENCODERS: dict[str, dict[str, type]] = {
    "conv": {"width": int, "side": int, "norm": str},
    "resnet": {"width": int, "blocks": int, "norm": str},
    "vit": {"patch": int, "width": int, "depth": int, "heads": int},
    "tdnn": {"width": int, "norm": str},
    "bytes": {"width": int, "depth": int},
    "mlp": {"width": int, "depth": int},
}
"""The options of each encoder; a test holds it against the encoders themselves, which check the values."""


class Params(Block):
    """The `train` block of params.yaml."""

    feed: Literal["classes", "pairs", "triplets"]
    encoder: Literal["conv", "resnet", "vit", "tdnn", "bytes", "mlp"]
    encoder_options: dict[str, bool | int | float | str]
    embedding: int = Field(ge=2, le=WIDEST)
    members: int = Field(ge=1, le=64)
    normalise: bool
    mirror: bool
    shifts: int = Field(ge=0, le=8)
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
    memory: int = Field(ge=0)
    optimizer: Literal["adamw", "adam", "sgd", "rmsprop"]
    learning_rate: float = Field(gt=0)
    loss_learning_rate: float | None = Field(gt=0)
    weight_decay: float = Field(ge=0)
    schedule: Literal["constant", "cosine", "one_cycle"]
    warmup: float = Field(ge=0)
    ema: float = Field(ge=0, lt=1)
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    classes_per_batch: int = Field(ge=2)
    samples_per_class: int = Field(ge=2)
    small_classes: Literal["fail", "warn", "off"]
    rotations: Literal[1, 4, 8]
    accumulate: int = Field(ge=1)
    whiten: int = Field(ge=0, le=1000)
    keep: Literal["best", "last"]
    patience: int = Field(ge=0)
    clip: float = Field(ge=0)
    precision: Literal["fp32", "bf16"]
    channels_last: bool
    compile: bool
    device: Literal["auto", "cpu", "cuda"]
    processes: int = Field(ge=1, le=4096)
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
        if self.loss_learning_rate is not None and not rules.learns:
            raise ValueError(f"loss {self.loss} learns nothing of its own: set loss_learning_rate: null")
        if self.whiten and self.feed != "classes":
            raise ValueError(f"whitening goes by classes, and the feed is {self.feed}: set whiten: 0")
        if self.whiten and self.loss == "binary_l1":
            raise ValueError("the weights that loss binary_l1 learns are of the learnt head: set whiten: 0")
        self._rotations_fit()
        self._memory_fits(rules)
        self._members_fit()
        self._encoder_fits()
        return self

    def _rotations_fit(self) -> None:
        if self.rotations > 1 and self.feed != "classes":
            raise ValueError(f"rotations make new classes, for feed classes, not {self.feed}: set rotations: 1")
        if self.rotations == 8 and self.augment.image is not None and self.augment.image.flip:
            raise ValueError(
                "rotations: 8 makes mirror images classes of their own, and augment.image.flip puts them among those "
                "they mirror: set flip: 0, or rotations: 4"
            )

    def _memory_fits(self, rules: Rules) -> None:
        if self.memory and not rules.remembers:
            known = ", ".join(name for name, each in LOSSES.items() if each.remembers)
            raise ValueError(f"loss {self.loss} compares with no memory: set memory: 0, or take one of {known}")
        if self.memory and self.feed != "classes":
            raise ValueError(f"a memory goes with feed classes, not {self.feed}: set memory: 0")
        if self.memory and self.mining not in SUMMED:
            raise ValueError(f"a memory goes with mining all or semihard, not {self.mining}: set memory: 0")

    def _members_fit(self) -> None:
        if self.members * self.embedding > WIDEST:
            raise ValueError(
                f"{self.members} members of embedding {self.embedding} make embeddings of "
                f"{self.members * self.embedding:,} numbers, and {WIDEST:,} are the most: lower members or embedding"
            )
        if self.members > 1 and self.distance == "cosine" and not self.normalise:
            raise ValueError(
                "by the cosine distance the member with the longest embeddings would decide: set normalise: true, or "
                "members: 1"
            )

    def _encoder_fits(self) -> None:
        known = ENCODERS[self.encoder]
        for name, value in self.encoder_options.items():
            if name not in known:
                close = nearest(name, known)
                hint = f"; did you mean {close}?" if close else ""
                raise ValueError(f"encoder {self.encoder} takes no option {name}{hint} (known: {', '.join(known)})")
            if type(value) is not known[name]:
                kind = {int: "a whole number", str: "a word"}[known[name]]
                raise ValueError(f"encoder_options: {name} is {value!r}, but must be {kind}")
        split = {"processes": self.processes, "accumulate": self.accumulate}
        for name, parts in split.items():
            if parts > 1 and self.encoder_options.get("norm") == "batch":
                raise ValueError(f"batch norm would see a part of the batch only: set {name}: 1, or norm: group")

    def options(self) -> dict[str, float | str]:
        """Return the loss's options that are given."""
        return {name: getattr(self, name) for name in OPTIONS if getattr(self, name) is not None}

    def _one_of(self, key: str, given: str, allowed: tuple[str, ...]) -> None:
        if given not in allowed:
            raise ValueError(f"loss {self.loss} does not go with {key} {given}; allowed: {', '.join(allowed)}")
