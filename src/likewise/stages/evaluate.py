"""evaluate: how good the trained network is on samples and pairs that it never saw."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise import artifacts
from likewise.config import named, run_stage
from likewise.stages.evaluate_params import Params

if TYPE_CHECKING:
    from likewise.evaluation.decisions import Decisions
    from likewise.evaluation.portraits import Portrait
    from likewise.evaluation.trials import Samples, Trials


def run(params: Params, root: Path) -> None:
    """Write the metrics, the thresholds and calibrations, the curves, the errors and the report."""
    from likewise.evaluation import decisions, metrics
    from likewise.evaluation.tasks import read_tasks

    with named("evaluate.tasks"):
        tasks = read_tasks(root / params.tasks)
    samples = embed_samples(root)
    cohort = None if params.normalisation == "none" else embed_samples(root, ("train",)).classed("train")
    val, test = (trials(samples, split, root) for split in ("val", "test"))
    with named("evaluate.threshold"):
        chosen = decisions.decide(
            val,
            decisions.rules(params.rates, params.named_costs),
            threshold=params.rule,
            method=params.calibration,
            distance=samples.distance,
            split="val",
            seed=params.seed,
        )
    artifacts.CALIBRATION.write({**chosen.to_dict(), "open_set": known_from(params, samples)}, root)
    told = metrics.all_metrics(samples, val, test, chosen, params.asked(), cohort=cohort, tasks=tasks)
    artifacts.METRICS.write(told, root)
    write_plots(test, chosen, root)
    write_report(params, samples, test, chosen, told, root)
    for name, section in told.items():
        if str(section.get("protocol")).startswith("not measured"):
            print(f"evaluate: {name}: {section['protocol']}", flush=True)
    right, eer = told["verification"]["accuracy"], told["verification"]["eer"]
    print(f"evaluate: {len(test.same):,} test trials: accuracy {right:.3%}, EER {eer:.3%}", flush=True)


def embed_samples(root: Path, splits: tuple[str, ...] = ("val", "test")) -> Samples:
    """Return the samples of some splits with their embeddings."""
    from likewise import runtime
    from likewise.data.batches import Media
    from likewise.delivery.model import load_trained
    from likewise.evaluation.trials import Samples
    from likewise.learning.embedding import embed

    runtime.set_up(threads=artifacts.TRAIN.read(root)["params"]["threads"])
    encoder, distance = load_trained(root)
    media = Media(*artifacts.read_media(root), device=runtime.device("cpu"))
    every = artifacts.SAMPLES.read(root).reset_index(names="row")
    frame = every[every["split"].isin(splits)].reset_index(drop=True)
    return Samples(frame, embed(encoder, media, frame["row"].to_numpy(dtype=np.int64)).numpy(), distance)


def known_from(params: Params, samples: Samples) -> dict[str, Any] | None:
    """Return from which score a probe is taken for somebody enrolled, chosen on val; None where val cannot show it."""
    from likewise.evaluation import acceptance

    val = samples.classed("val")
    if not len(val.labels):
        return None
    chosen = acceptance.choose(
        val.embeddings,
        val.labels,
        distance=samples.distance,
        split="val",
        fars=params.rates,
        share=params.enrolled,
        shots=params.shots,
        seed=params.seed,
    )
    return None if chosen is None else chosen.to_dict()


def trials(samples: Samples, split: str, root: Path) -> Trials:
    """Return the scored trials of a split, both kinds among them."""
    from likewise.evaluation.checks import as_trials

    table = artifacts.PAIRS[split]
    found = samples.trials(table.read(root), split=split, where=table.path)
    with named(table.path):
        as_trials(found.scores, found.same)
    return found


def write_plots(test: Trials, chosen: Decisions, root: Path) -> None:
    """Write the tables that `dvc plots` draws."""
    from likewise.evaluation import figures

    artifacts.ROC.write(figures.roc_table(test.roc), root)
    artifacts.DET.write(figures.det_table(test.roc), root)
    artifacts.SCORES.write(figures.score_histogram(test.scores, test.same), root)
    artifacts.RELIABILITY.write(figures.reliability_table(test.scores, test.same, chosen.calibration), root)


def write_report(
    params: Params, samples: Samples, test: Trials, chosen: Decisions, told: dict[str, Any], root: Path
) -> None:
    """Write every error, and the report."""
    from likewise.evaluation import mistakes, report
    from likewise.evaluation.exhibits import Shown, exhibits
    from likewise.evaluation.portraits import portrait

    media, offsets = artifacts.read_media(root)
    summary = artifacts.SUMMARY.read(root)

    def shown(place: int) -> Portrait:
        row = samples.frame["row"].iloc[place]
        return portrait(summary["kind"], np.asarray(media[offsets[row] : offsets[row + 1]]))

    artifacts.ERRORS.write(mistakes.errors(samples, test, chosen.threshold.value), root)
    accepts, rejects = mistakes.examples(samples, test, count=params.hardest, portrait=shown)
    data = report.ReportData(
        title="Are these two the same?",
        subject="pairs of unseen samples",
        metrics=told,
        roc=test.roc,
        scores=test.scores,
        same=test.same,
        threshold=chosen.threshold,
        history=artifacts.HISTORY.read(root),
        layers=artifacts.LAYERS.read(root),
        false_accepts=accepts,
        false_rejects=rejects,
        params=artifacts.TRAIN.read(root),
        summary=summary,
        calibration=chosen.calibration,
        exhibits=exhibits(
            Shown.of(samples, split="test", within=params.within, portrait=shown), ways=params.ways, seed=params.seed
        ),
        lineage=lineage(root),
    )
    with artifacts.REPORT.writing(root) as path:
        path.write_text(report.render(data), encoding="utf-8")


def lineage(root: Path) -> dict[str, str]:
    """Return what tells this model from any other; the registry's version has the commit and the run as well."""
    return {
        "weights (SHA-256)": artifacts.MODEL.read(root)["weights_sha256"],
        "train key": artifacts.TRAIN.read(root)["train_key"],
        "samples (SHA-256)": artifacts.file_sha256(root / artifacts.SAMPLES.path),
        "test pairs (SHA-256)": artifacts.file_sha256(root / artifacts.PAIRS["test"].path),
    }


if __name__ == "__main__":
    run_stage("evaluate", Params, run)
