"""What the `sweep` block of params.yaml may hold: settings of train that the sweep flow tries; no stage reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from likewise.config import PARAMS_FILE, Block, nearest
from likewise.stages.train_params import ENCODERS
from likewise.stages.train_params import Params as Train

OPTIONS_BLOCK = "encoder_options"
REFUSED = {
    "seed": "a seed that is picked for its val EER is luck, which the next training does not have",
    "keep": "what is compared is the val EER of the weights that are kept, by one rule for all trials",
}
"""Keys of train that a sweep must not choose, and why."""


def _number(given: Any) -> Any:
    if isinstance(given, bool) or not isinstance(given, int | float | None):
        raise ValueError(f"given {given!r}; allowed: a number")
    return given


def _value(given: Any) -> Any:
    if given is not None and not isinstance(given, bool | int | float | str):
        raise ValueError(f"given {given!r}; allowed: a number, a word, true, false or null")
    return given


Number = Annotated[Any, BeforeValidator(_number)]
Value = Annotated[Any, BeforeValidator(_value)]


class Dimension(Block):
    """What one key may be: from `low` to `high`, or one of `choices`.

    Whole numbers where both ends are written as such, else any number; `log`: small ones as often as large ones.
    """

    low: Number = None
    high: Number = None
    step: Number = None
    log: bool = False
    choices: list[Value] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> Dimension:
        ends = (self.low, self.high)
        if self.choices is not None:
            if self.log or self.step is not None or ends != (None, None):
                raise ValueError("choices go without low, high, step and log")
            if len(set(map(repr, self.choices))) < len(self.choices):
                raise ValueError("a choice is given twice")
            return self
        if None in ends:
            raise ValueError("give low and high, or choices")
        if not self.low < self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log goes with a low above 0, and without step")
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            raise ValueError(f"step {self.step} must be above 0 and at most high - low")
        return self

    @property
    def whole(self) -> bool:
        """Whether a range is of whole numbers."""
        return all(isinstance(end, int) for end in (self.low, self.high, self.step) if end is not None)

    @property
    def edges(self) -> list[Any]:
        """The values that are checked before anything runs: all choices, or both ends."""
        return [self.low, self.high] if self.choices is None else list(self.choices)


class Params(Block):
    """The `sweep` block of params.yaml."""

    trials: int = Field(ge=1)
    seed: int = Field(ge=0)
    random: int = Field(ge=1)
    prune_after: int = Field(ge=1)
    prune_epoch: int = Field(ge=1)
    space: dict[str, Dimension]
    variants: list[dict[str, Value]]

    @model_validator(mode="after")
    def _agrees(self) -> Params:
        for variant in self.variants:
            if variant.keys() != self.variants[0].keys():
                raise ValueError(f"variants: all must set the same keys ({', '.join(self.variants[0])})")
        twice = sorted(self.space.keys() & set(self.variants[0] if self.variants else ()))
        if twice:
            raise ValueError(f"{twice[0]} is in the space and in the variants; it can be in one of them")
        return self

    def mistakes(self, train: Mapping[str, Any]) -> list[str]:
        """Say which settings that the sweep may come to try would be refused.

        Checked are each variant, and with each variant every choice and both ends of every range, one at a time.

        Args:
            train: the `train` block.
        """
        known = _keys(train, self.variants)
        unknown = [line for place, key in self._named() if (line := _refusal(place, key, known))]
        if unknown:
            return unknown
        found: dict[str, None] = {}
        for number, variant in enumerate(self.variants or [{}]):
            reason = _invalid(train, variant)
            if reason:
                found[f"{PARAMS_FILE}: sweep.variants: number {number + 1}: {reason}"] = None
                continue
            for key, dimension in self.space.items():
                for value in dimension.edges:
                    reason = _invalid(train, {**variant, key: value})
                    if reason:
                        found[f"{PARAMS_FILE}: sweep.space.{key}: with {value!r}: {reason}"] = None
        return list(found)

    def _named(self) -> Iterator[tuple[str, str]]:
        yield from (("sweep.space", key) for key in self.space)
        yield from (("sweep.variants", key) for key in (self.variants[0] if self.variants else ()))


def merged(train: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `train` block with some settings changed; it is not checked.

    Example:
        >>> merged({"margin": 0.2, "augment": {"image": {"flip": 0.0}}}, {"augment.image.flip": 0.5})
        {'margin': 0.2, 'augment': {'image': {'flip': 0.5}}}
    """
    whole = dict(train)
    for key, value in settings.items():
        first, _, rest = key.partition(".")
        whole[first] = merged(whole[first], {rest: value}) if rest else value
    return whole


def _keys(train: Mapping[str, Any], variants: list[dict[str, Any]]) -> list[str]:
    """Return the keys of train that hold one value each, and the options of the encoders that may be tried."""
    encoders = {train["encoder"]} | {variant["encoder"] for variant in variants if "encoder" in variant}
    options = {f"{OPTIONS_BLOCK}.{name}" for encoder in encoders for name in ENCODERS.get(str(encoder), ())}
    return [key for key in _leaves(train) if not key.startswith(OPTIONS_BLOCK)] + sorted(options)


def _leaves(block: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in block.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _refusal(place: str, key: str, known: list[str]) -> str:
    if key in REFUSED:
        return f"{PARAMS_FILE}: {place}.{key}: {REFUSED[key]}"
    if key in known:
        return ""
    close = nearest(key, known)
    hint = f"did you mean {close}? " if close else ""
    return f"{PARAMS_FILE}: {place}.{key}: no key of train that holds one value; {hint}known: {', '.join(known)}"


def _invalid(train: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return why train refuses the settings, or nothing."""
    try:
        Train.model_validate(merged(train, settings))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = str(first.get("ctx", {}).get("error", first["msg"]))
        return f"{key}: {reason}" if key and key not in settings else reason
    return ""
