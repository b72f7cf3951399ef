"""What the `evaluate` block of params.yaml may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from likewise.config import Block

if TYPE_CHECKING:
    from likewise.evaluation.metrics import Asked

Rate = Annotated[float, Field(gt=0, lt=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class Cost(Block):
    """What errors cost, and how often trials are genuine."""

    prior: Rate
    cost_miss: float = Field(gt=0, allow_inf_nan=False)
    cost_false_accept: float = Field(gt=0, allow_inf_nan=False)


class Params(Block):
    """The `evaluate` block of params.yaml."""

    threshold: Literal["accuracy", "eer", "far", "cost"]
    far: Rate
    cost: str
    fars: list[Rate]
    costs: dict[Name, Cost]
    calibration: Literal["platt", "isotonic", "beta"]
    normalisation: Literal["none", "z", "t", "s", "as"]
    cohort_top: int = Field(ge=2)
    k: list[Annotated[int, Field(ge=1)]]
    ways: int = Field(ge=2)
    shots: int = Field(ge=1)
    within: Literal["any", "group"]
    episodes: int = Field(ge=1)
    tasks: str = Field(min_length=1)
    enrolled: Rate
    slices: list[str]
    hardest: int = Field(ge=1, le=200)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _fits(self) -> Params:
        if self.threshold == "cost" and self.cost not in self.costs:
            raise ValueError(f"cost: {self.cost} is none of costs: {', '.join(self.costs) or 'there are none'}")
        for key in ("fars", "k", "slices"):
            listed = getattr(self, key)
            if len(set(listed)) < len(listed):
                raise ValueError(f"{key}: {listed} names one twice")
        if 1 not in self.k:
            raise ValueError(f"k: {self.k} lacks 1: recall@1 is what summaries show")
        return self

    @property
    def rates(self) -> list[float]:
        """The false-accept rates that others are told at: that of the threshold is among them."""
        own = [self.far] if self.threshold == "far" else []
        return list(dict.fromkeys([*self.fars, *own]))

    @property
    def named_costs(self) -> dict[str, dict[str, float]]:
        """Priors and costs by name."""
        return {name: cost.model_dump() for name, cost in self.costs.items()}

    @property
    def rule(self) -> str:
        """The name of the rule whose threshold the model carries."""
        from likewise.evaluation.measures import percent_name

        return {"far": f"far_{percent_name(self.far)}", "cost": f"cost_{self.cost}"}.get(self.threshold, self.threshold)

    def asked(self) -> Asked:
        """Return what is to be measured."""
        from likewise.evaluation.metrics import Asked

        return Asked(
            threshold=self.rule,
            fars=self.rates,
            costs=self.named_costs,
            k=self.k,
            ways=self.ways,
            shots=self.shots,
            within=self.within,
            episodes=self.episodes,
            enrolled=self.enrolled,
            normalisation=self.normalisation,
            cohort_top=self.cohort_top,
            slices=self.slices,
            seed=self.seed,
        )
