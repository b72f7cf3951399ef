"""evaluate: how good the trained network is on samples and pairs that it never saw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from likewise import artifacts
from likewise.config import Block, named, run_stage

if TYPE_CHECKING:
    from likewise.evaluation.calibration import Threshold
    from likewise.evaluation.report import Example, Side

Array = np.ndarray[Any, Any]


class Params(Block):
    """The `evaluate` block of params.yaml."""

    threshold: Literal["accuracy", "eer", "far"]
    far: float = Field(gt=0, lt=1)
    ways: int = Field(ge=2)
    shots: int = Field(ge=1)
    within: Literal["any", "group"]
    episodes: int = Field(ge=1)
    hardest: int = Field(ge=1, le=200)
    seed: int = Field(ge=0)


@dataclass(frozen=True)
class Trials:
    """The trials of one split: rows of the samples, the score of each, and whether it is genuine."""

    left: Array
    right: Array
    same: Array
    scores: Array


def run(params: Params, root: Path) -> None:
    """Write the metrics, the calibration, the curves, the worst errors and the report."""
    from likewise.evaluation import calibration, report, verification

    samples, embeddings, distance = embed_samples(root)
    val, test = (score(split, samples, embeddings, distance, root) for split in ("val", "test"))
    with named("evaluate.threshold"):
        threshold = calibration.choose_threshold(
            val.scores,
            val.same,
            params.threshold,
            params.far if params.threshold == "far" else None,
            distance=distance,
            split="val",
        )
    probability = calibration.calibrate(val.scores, val.same, distance=distance, split="val")
    artifacts.CALIBRATION.write(
        {"distance": distance, "threshold": threshold.to_dict(), "probability": probability.to_dict()}, root
    )
    metrics = figures(params, samples, embeddings, test, threshold)
    artifacts.METRICS.write(metrics, root)
    artifacts.ROC.write(report.roc_table(verification.roc_from_trials(test.scores, test.same)), root)
    artifacts.SCORES.write(report.score_histogram(test.scores, test.same), root)
    artifacts.ERRORS.write(errors(samples, test, threshold.value), root)
    data = report.ReportData(
        title="Are these two the same?",
        subject="pairs of unseen samples",
        metrics=metrics,
        scores=test.scores,
        same=test.same,
        threshold=threshold,
        history=artifacts.HISTORY.read(root),
        layers=artifacts.LAYERS.read(root),
        **hardest(params, samples, test, root),
        params=artifacts.TRAIN.read(root),
        summary=artifacts.SUMMARY.read(root),
        calibration=probability,
    )
    with artifacts.REPORT.writing(root) as path:
        path.write_text(report.render(data), encoding="utf-8")
    right, eer = metrics["verification"]["accuracy"], metrics["verification"]["eer"]
    print(f"evaluate: {len(test.same):,} test trials: accuracy {right:.3%}, EER {eer:.3%}", flush=True)


def embed_samples(root: Path) -> tuple[pd.DataFrame, Array, str]:
    """Return the samples of val and test, their embeddings, and the name of the distance between them."""
    from likewise import runtime
    from likewise.data.batches import Media
    from likewise.delivery.model import load_trained
    from likewise.learning.embedding import embed

    runtime.set_up(threads=artifacts.TRAIN.read(root)["params"]["threads"])
    encoder, distance = load_trained(root)
    media = Media(*artifacts.read_media(root), device=runtime.device("cpu"))
    samples = artifacts.SAMPLES.read(root)
    unseen = samples[samples["split"] != "train"]
    embeddings = embed(encoder, media, unseen.index.to_numpy(dtype=np.int64))
    return unseen.reset_index(names="row"), embeddings.numpy(), distance


def score(split: str, samples: pd.DataFrame, embeddings: Array, distance: str, root: Path) -> Trials:
    """Score the trials of a split."""
    import torch

    from likewise import distances
    from likewise.learning.feeds import rows_of

    trials = artifacts.PAIRS[split].read(root)
    ids = pd.Index(samples["id"])
    left, right = rows_of(trials["left"], ids), rows_of(trials["right"], ids)
    measure = distances.build(distance)
    found = measure.paired(torch.from_numpy(embeddings[left]), torch.from_numpy(embeddings[right]))
    return Trials(left, right, trials["same"].to_numpy(), measure.score(found).numpy())


def figures(
    params: Params, samples: pd.DataFrame, embeddings: Array, test: Trials, threshold: Threshold
) -> dict[str, Any]:
    """Return the figures on the test split: of its trials, and of its samples that have a class."""
    from likewise.evaluation import metrics

    (drawn, over), forged = units(samples), samples["forges"].notna().to_numpy()
    chosen = (samples["split"] == "test") & samples["class"].notna()
    vectors, labels = embeddings[chosen.to_numpy()], samples.loc[chosen, "class"]
    distance = threshold.distance
    found = {
        "verification": metrics.verification_metrics(
            test.scores,
            test.same,
            drawn[test.left],
            drawn[test.right],
            threshold=threshold,
            seed=params.seed,
            over=over,
            skilled=forged[test.left] | forged[test.right],
        ),
        "retrieval": metrics.retrieval_metrics(vectors, labels, distance=distance),
    }
    asked = {key: getattr(params, key) for key in ("ways", "shots", "episodes", "seed")}
    groups = samples.loc[chosen, "group"] if params.within == "group" else None
    with named("evaluate.ways"):
        tasks = metrics.oneshot_metrics(vectors, labels, distance=distance, groups=groups, **asked)
    return {**found, "oneshot": tasks}


def units(samples: pd.DataFrame) -> tuple[Array, str]:
    """Return what was drawn at random when the samples were, a name a sample, and what that is called.

    It is the class, for a forgery the one that it imitates; where there are no classes, the group that pairs join.
    """
    names = samples["class"].fillna(samples["forges"]).fillna(samples["group"])
    classless = samples.loc[samples["split"] == "test", "class"].isna().all()
    return names.to_numpy(dtype=object), "groups" if classless else "classes"


def hardest(params: Params, samples: pd.DataFrame, trials: Trials, root: Path) -> dict[str, list[Example]]:
    """Return the impostor and genuine trials that look most like the other kind, with their pictures."""
    from likewise.evaluation import report
    from likewise.evaluation.portraits import portrait

    media, offsets = artifacts.read_media(root)
    kind = artifacts.SUMMARY.read(root)["kind"]

    def side(place: int) -> Side:
        sample = samples.iloc[place]
        rows = np.asarray(media[slice(*offsets[sample["row"] :][:2])])
        return report.Side(sample["id"], label(sample), *portrait(kind, rows))

    def examples(places: Array) -> list[Example]:
        sides = ((side(trials.left[place]), side(trials.right[place]), float(trials.scores[place])) for place in places)
        return [report.Example(*example) for example in sides]

    impostors, genuine = report.hardest(trials.scores, trials.same, count=params.hardest)
    return {"false_accepts": examples(impostors), "false_rejects": examples(genuine)}


def label(sample: pd.Series[str]) -> str | None:
    """Return what a person calls a sample: its class, or that it is a forgery; None where it has no class."""
    if pd.notna(sample["forges"]):
        return f"{sample['forges']}, forged"
    return None if pd.isna(sample["class"]) else str(sample["class"])


def errors(samples: pd.DataFrame, trials: Trials, threshold: float) -> pd.DataFrame:
    """Return every false accept and false reject, the worst first."""
    accepted, genuine = trials.scores >= threshold, trials.same == 1
    wrong = np.flatnonzero(accepted != genuine)
    left, right = samples.iloc[trials.left[wrong]], samples.iloc[trials.right[wrong]]
    frame = pd.DataFrame(
        {
            "error": np.where(accepted[wrong], "false accept", "false reject"),
            "left": left["id"].to_numpy(),
            "right": right["id"].to_numpy(),
            "left_class": left["class"].to_numpy(),
            "right_class": right["class"].to_numpy(),
            "score": trials.scores[wrong].astype(np.float64),
        }
    )
    order = (frame["score"] - threshold).abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order].sort_values("error", kind="stable").reset_index(drop=True)


if __name__ == "__main__":
    run_stage("evaluate", Params, run)
