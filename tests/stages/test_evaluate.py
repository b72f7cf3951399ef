from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors

from likewise import artifacts
from likewise.delivery.model import load_trained
from likewise.evaluation import bootstrap, oneshot
from likewise.evaluation.calibration import Calibration
from likewise.evaluation.measures import MEASURES
from likewise.evaluation.thresholds import Threshold
from likewise.stages import evaluate
from tests.small import Fresh, params

OUTPUTS = (
    artifacts.METRICS.path,
    artifacts.CALIBRATION.path,
    artifacts.ROC.path,
    artifacts.DET.path,
    artifacts.SCORES.path,
    artifacts.RELIABILITY.path,
    artifacts.ERRORS.path,
    artifacts.REPORT.path,
)


@dataclass(frozen=True)
class ByHand:
    """The trials of a split, scored from the trained encoder and nothing else of the stage."""

    frame: pd.DataFrame
    scores: np.ndarray[Any, Any]
    same: np.ndarray[Any, Any]


def embeddings(root: Path) -> pd.DataFrame:
    encoder, _ = load_trained(root)
    media, _ = artifacts.read_media(root)
    with torch.no_grad():
        vectors = encoder(torch.from_numpy(np.array(media))).numpy().astype(np.float64)
    return pd.DataFrame(vectors, index=pd.Index(artifacts.SAMPLES.read(root)["id"]))


def by_hand(root: Path, split: str) -> ByHand:
    frame, found = artifacts.PAIRS[split].read(root), embeddings(root)
    left, right = (found.loc[frame[side]].to_numpy() for side in ("left", "right"))
    return ByHand(frame, -np.linalg.norm(left - right, axis=1), frame["same"].to_numpy())


def test_verification_is_what_scikit_learn_finds(evaluated: Path) -> None:
    told, test = artifacts.METRICS.read(evaluated)["verification"], by_hand(evaluated, "test")
    threshold = artifacts.CALIBRATION.read(evaluated)["threshold"]["value"]
    assert told["auc"] == pytest.approx(roc_auc_score(test.same, test.scores), abs=1e-9)
    accepted = test.scores >= threshold
    assert told["accuracy"] == pytest.approx(np.mean(accepted == (test.same == 1)))
    assert told["false_accept_rate"] == pytest.approx(accepted[test.same == 0].mean())
    assert told["false_reject_rate"] == pytest.approx((~accepted)[test.same == 1].mean())
    assert (told["trials"], told["genuine"], told["impostors"]) == (160, 80, 80)
    far, tar, _ = roc_curve(test.same, test.scores, drop_intermediate=False)
    shares = np.linspace(0, 1, 20_001)[:, None]
    assert told["eer"] == pytest.approx((shares * far + (1 - shares) * (1 - tar)).min(axis=1).max(), abs=1e-4)
    # 80 impostors cannot show one false accept in a hundred.
    assert told["tar_at_far_1_percent"] is None


def test_figures_have_intervals_over_the_classes(evaluated: Path) -> None:
    told = artifacts.METRICS.read(evaluated)["verification"]
    for name in ("accuracy", "eer", "auc", "false_accept_rate", "false_reject_rate"):
        assert told[f"{name}_low"] <= told[name] <= told[f"{name}_high"]
        assert told[f"{name}_low"] < told[f"{name}_high"]
    assert told["tar_at_far_1_percent_low"] is None
    samples, pairs = artifacts.SAMPLES.read(evaluated).set_index("id")["class"], artifacts.PAIRS["test"].read(evaluated)
    left, right = (samples[pairs[side]].to_numpy() for side in ("left", "right"))
    test = by_hand(evaluated, "test")
    seed = params(evaluated, "evaluate").seed
    by_code = bootstrap.intervals(
        test.scores.astype(np.float32), test.same, left, right, {"auc": MEASURES["auc"]}, seed=seed
    )["auc"]
    assert by_code is not None
    assert (told["auc_low"], told["auc_high"]) == pytest.approx((by_code.low, by_code.high), abs=1e-4)


def rearranged(root: Path, test: pd.DataFrame, trials: list[tuple[str, str, int]]) -> dict[str, Any]:
    """Evaluate with other columns for the test samples, by id, and other test trials; return metrics.json."""
    samples = artifacts.SAMPLES.read(root).set_index("id", drop=False).astype(object)
    samples.loc[test.index, list(test.columns)] = test
    artifacts.SAMPLES.write(samples, root)
    frame = pd.DataFrame(trials, columns=["left", "right", "same"]).astype({"same": np.int8})
    artifacts.PAIRS["test"].write(frame, root)
    evaluate.run(params(root, "evaluate"), root)
    return artifacts.METRICS.read(root)


def test_samples_without_classes_are_judged_by_the_groups_that_pairs_join(fresh: Fresh) -> None:
    root = fresh()
    known = artifacts.SAMPLES.read(root).query("split == 'test'").set_index("id")
    trials = [
        (left, right, int(known["class"][left] == known["class"][right]))
        for left, right in zip(known.index[:-7], known.index[7:], strict=True)
    ]
    trials += [(known.index[i], known.index[i + 1], 1) for i in range(0, 36, 3)]
    joined = pd.DataFrame({"class": None, "group": [f"g{i // 12}" for i in range(36)]}, index=known.index)
    told = rearranged(root, joined, [t for t in trials if t[2] == 0 or joined["group"][t[0]] == joined["group"][t[1]]])
    for section in ("retrieval", "oneshot"):
        figures = {key: value for key, value in told[section].items() if key != "protocol"}
        assert figures
        assert set(figures.values()) == {None}
        assert told[section]["protocol"] == "not measured: no test sample has a class"
    found = told["verification"]
    assert found["protocol"].endswith("95 % intervals over groups")
    test = by_hand(root, "test")
    left, right = (joined["group"][test.frame[side]].to_numpy(dtype=str) for side in ("left", "right"))
    scores = test.scores.astype(np.float32)
    drawn = bootstrap.intervals(scores, test.same, left, right, {"auc": MEASURES["auc"]}, seed=0)["auc"]
    assert drawn is not None
    assert (found["auc_low"], found["auc_high"]) == pytest.approx((drawn.low, drawn.high), abs=1e-4)
    assert artifacts.ERRORS.read(root)["left_class"].isna().all()
    page = (root / artifacts.REPORT.path).read_text(encoding="utf-8")
    assert ">class " not in page
    assert "no test sample has a class" in page


def test_skilled_and_random_forgeries_have_an_eer_each(fresh: Fresh) -> None:
    root = fresh()
    known = artifacts.SAMPLES.read(root).query("split == 'test'").set_index("id")
    forged = known[known.groupby("class").cumcount() >= 4]
    marked = pd.DataFrame({"class": None, "forges": forged["class"]}, index=forged.index)
    kept = known.drop(forged.index)["class"]
    trials = [(a, b, int(kept[a] == kept[b])) for i, a in enumerate(kept.index) for b in kept.index[i + 1 :]]
    trials += [(a, b, 0) for a in kept.index for b in forged.index if kept[a] == marked["forges"][b]]
    found = rearranged(root, marked, trials)["verification"]
    test = by_hand(root, "test")
    skilled = test.frame["right"].isin(forged.index).to_numpy()
    shares = np.linspace(0, 1, 20_001)[:, None]
    for sort, chosen in (("skilled", skilled), ("random", ~skilled & (test.same == 0))):
        some = chosen | (test.same == 1)
        far, tar, _ = roc_curve(test.same[some], test.scores[some], drop_intermediate=False)
        hull = (shares * far + (1 - shares) * (1 - tar)).min(axis=1).max()
        assert found[f"eer_{sort}"] == pytest.approx(hull, abs=1e-4)
        assert found[f"eer_{sort}_low"] <= found[f"eer_{sort}"] <= found[f"eer_{sort}_high"]
    assert found["eer_skilled"] > found["eer_random"]
    assert found["protocol"].endswith("95 % intervals over classes")
    assert (found["trials"], found["impostors"]) == (len(trials), sum(not same for *_, same in trials))
    assert ", forged</span>" in (root / artifacts.REPORT.path).read_text(encoding="utf-8")


def test_impostors_of_one_sort_have_one_eer(evaluated: Path) -> None:
    assert not {"eer_skilled", "eer_random"} & set(artifacts.METRICS.read(evaluated)["verification"])


def test_a_far_that_the_impostors_can_show_is_measured(fresh: Fresh) -> None:
    root = fresh()
    ids = artifacts.SAMPLES.read(root).query("split == 'test'")
    pairs = ids.merge(ids, how="cross").query("id_x < id_y")
    same = (pairs["class_x"] == pairs["class_y"]).astype(np.int8)
    frame = pd.DataFrame({"left": pairs["id_x"], "right": pairs["id_y"], "same": same})
    artifacts.PAIRS["test"].write(frame.reset_index(drop=True), root)
    evaluate.run(params(root, "evaluate"), root)
    told, test = artifacts.METRICS.read(root)["verification"], by_hand(root, "test")
    far, tar, _ = roc_curve(test.same, test.scores, drop_intermediate=False)
    assert told["tar_at_far_1_percent"] == pytest.approx(tar[far <= 0.01].max())
    assert told["tar_at_far_0_1_percent"] is None


def test_retrieval_is_what_scikit_learn_finds(evaluated: Path) -> None:
    samples = artifacts.SAMPLES.read(evaluated).query("split == 'test'")
    vectors, labels = embeddings(evaluated).loc[samples["id"]].to_numpy(), samples["class"].to_numpy()
    nearest = NearestNeighbors(n_neighbors=5).fit(vectors).kneighbors(return_distance=False)
    right = labels[nearest] == labels[:, None]
    told = artifacts.METRICS.read(evaluated)["retrieval"]
    assert told["recall_at_1"] == pytest.approx(right[:, 0].mean())
    assert told["recall_at_5"] == pytest.approx(right.any(axis=1).mean())
    positives = 5  # six samples a class in test
    precision = np.cumsum(right, axis=1) / np.arange(1, positives + 1)
    assert told["map_at_r"] == pytest.approx(((precision * right).sum(axis=1) / positives).mean())
    assert told["queries"] == len(samples)


def test_one_shot_says_what_was_asked_and_lies_in_its_interval(evaluated: Path) -> None:
    told = artifacts.METRICS.read(evaluated)["oneshot"]
    assert told["protocol"].startswith("3-way 1-shot")
    assert told["accuracy_low"] < told["accuracy"] < told["accuracy_high"]
    assert told["episodes"] == 50
    assert told["accuracy"] > 1 / 3


def test_one_shot_within_groups_is_that_of_the_groups(fresh: Fresh) -> None:
    root = fresh()
    within = params(root, "evaluate", within="group", ways=2)
    with pytest.raises(ValueError, match=r"36 of 36 test samples have no group: set evaluate\.within: any"):
        evaluate.run(within, root)
    samples = artifacts.SAMPLES.read(root)
    groups = samples["class"].map(lambda name: "left" if name in ("k0", "k1", "k2") else "right").astype("str")
    samples["group"] = groups
    artifacts.SAMPLES.write(samples, root)
    evaluate.run(within, root)
    told = artifacts.METRICS.read(root)["oneshot"]
    test = samples["split"] == "test"
    vectors = embeddings(root)[test.to_numpy()].to_numpy(dtype=np.float32)
    expected = oneshot.evaluate(
        vectors,
        samples.loc[test, "class"].to_numpy(dtype=str),
        distance="euclidean",
        ways=2,
        episodes=within.episodes,
        seed=within.seed,
        groups=groups[test].to_numpy(dtype=str),
    )
    assert "classes of one group" in told["protocol"]
    assert told["accuracy"] == pytest.approx(expected.accuracy, abs=1e-9)


def test_threshold_and_calibration_come_from_val_only(fresh: Fresh) -> None:
    root = fresh()
    before = (root / artifacts.CALIBRATION.path).read_bytes()
    val = by_hand(root, "val")
    threshold = Threshold.from_dict(artifacts.CALIBRATION.read(root)["threshold"])
    genuine = val.same == 1
    best = max(((val.scores >= t) == genuine).mean() for t in [*val.scores, np.inf])
    assert ((val.scores >= threshold.value) == genuine).mean() == pytest.approx(best)
    assert (threshold.split, threshold.rule) == ("val", "accuracy")
    assert threshold.accuracy == pytest.approx(best)
    frame = artifacts.PAIRS["test"].read(root)
    artifacts.PAIRS["test"].write(frame.iloc[:50], root)
    evaluate.run(params(root, "evaluate"), root)
    assert (root / artifacts.CALIBRATION.path).read_bytes() == before
    artifacts.PAIRS["val"].write(artifacts.PAIRS["val"].read(root).iloc[:30], root)
    evaluate.run(params(root, "evaluate"), root)
    assert (root / artifacts.CALIBRATION.path).read_bytes() != before


@pytest.mark.parametrize(("rule", "far"), [("eer", 0.01), ("far", 0.1)])
def test_the_rule_of_the_threshold_is_a_param(fresh: Fresh, rule: str, far: float) -> None:
    root = fresh()
    evaluate.run(params(root, "evaluate", threshold=rule, far=far), root)
    told, val = artifacts.CALIBRATION.read(root)["threshold"], by_hand(root, "val")
    accepted = val.scores >= told["value"]
    assert told["rule"] == rule
    assert told["far"] == pytest.approx(accepted[val.same == 0].mean())
    assert told["frr"] == pytest.approx((~accepted)[val.same == 1].mean())
    if rule == "far":
        assert told["target_far"] == far
        assert told["far"] <= far
    else:
        assert told["far"] == pytest.approx(told["frr"], abs=1 / 30)


def test_errors_are_every_wrong_answer_the_worst_first(evaluated: Path) -> None:
    errors, test = artifacts.ERRORS.read(evaluated), by_hand(evaluated, "test")
    threshold = artifacts.CALIBRATION.read(evaluated)["threshold"]["value"]
    accepted, genuine = test.scores >= threshold, test.same == 1
    for name, wrong in (("false accept", accepted & ~genuine), ("false reject", ~accepted & genuine)):
        found = errors[errors["error"] == name]
        assert len(found) == wrong.sum() > 0
        pairs = set(zip(found["left"], found["right"], strict=True))
        assert pairs == set(zip(test.frame["left"][wrong], test.frame["right"][wrong], strict=True))
        np.testing.assert_allclose(np.sort(found["score"]), np.sort(test.scores[wrong]), atol=1e-6)
        assert (found["score"] - threshold).abs().is_monotonic_decreasing
        assert ((found["left_class"] == found["right_class"]) == (name == "false reject")).all()
    assert errors["error"].is_monotonic_increasing


def test_curves_are_those_of_the_test_trials(evaluated: Path) -> None:
    roc, scores = artifacts.ROC.read(evaluated), artifacts.SCORES.read(evaluated)
    test = by_hand(evaluated, "test")
    far, tar, _ = roc_curve(test.same, test.scores, drop_intermediate=False)
    known = set(zip(far.round(9), tar.round(9), strict=True))
    assert set(zip(roc["far"].round(9), roc["tar"].round(9), strict=True)) <= known
    assert roc["far"].is_monotonic_increasing
    assert scores[["genuine", "impostor"]].sum().tolist() == pytest.approx([1, 1])


def test_the_report_shows_the_figures_and_the_pictures_and_no_place(evaluated: Path) -> None:
    page = (evaluated / artifacts.REPORT.path).read_text(encoding="utf-8")
    told = artifacts.METRICS.read(evaluated)["verification"]
    assert f"{told['accuracy']:.1%}".rstrip("%") in page
    assert page.count("data:image/png;base64,") >= 12  # two sides of three examples of two kinds
    for name in OUTPUTS:
        assert str(evaluated).encode() not in (evaluated / name).read_bytes()


def test_the_calibration_gives_probabilities_that_rise(evaluated: Path) -> None:
    told = artifacts.CALIBRATION.read(evaluated)
    assert told["distance"] == told["threshold"]["distance"] == told["probability"]["distance"] == "euclidean"
    probability = Calibration.from_dict(told["probability"]).probability(np.linspace(-2, 0, 9))
    assert (np.diff(probability) > 0).all()
    assert 0 < probability[0] < probability[-1] < 1


def test_again_gives_the_same_bytes(fresh: Fresh) -> None:
    root = fresh()
    before = {name: (root / name).read_bytes() for name in OUTPUTS}
    evaluate.run(params(root, "evaluate"), root)
    assert {name: (root / name).read_bytes() for name in OUTPUTS} == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"slices": ["speaker"]}, r"^evaluate\.slices: samples have no column 'speaker'; they have: "),
        ({"tasks": "data/none.txt"}, r"^evaluate\.tasks: .*/data/none\.txt: no such file or folder"),
        ({"normalisation": "as"}, r"^evaluate\.normalisation: 200 cohort scores were asked for out of 6"),
        (
            {"threshold": "far", "far": 0.001},
            r"^evaluate\.threshold: 30 impostor trials cannot show .* 0\.001; the least they can is 0\.033",
        ),
    ],
)
def test_what_the_data_cannot_show_is_refused_in_a_line(fresh: Fresh, changes: dict[str, Any], words: str) -> None:
    root = fresh()
    with pytest.raises(ValueError, match=words) as caught:
        evaluate.run(params(root, "evaluate", **changes), root)
    assert len(str(caught.value).splitlines()) == 1


def test_a_trial_of_a_sample_that_is_not_there_is_refused(fresh: Fresh) -> None:
    root = fresh()
    frame = artifacts.PAIRS["test"].read(root)
    frame.loc[3, "left"] = "gone.png"
    artifacts.PAIRS["test"].write(frame, root)
    with pytest.raises(ValueError, match=r"^data/pairs/test\.parquet: row 4: 'gone\.png' is no sample of val or test"):
        evaluate.run(params(root, "evaluate"), root)


@pytest.mark.parametrize(("split", "kind", "missing"), [("val", 1, "impostor"), ("test", 0, "genuine")])
def test_trials_of_one_kind_are_refused_with_their_file(fresh: Fresh, split: str, kind: int, missing: str) -> None:
    root = fresh()
    frame = artifacts.PAIRS[split].read(root)
    artifacts.PAIRS[split].write(frame[frame["same"] == kind], root)
    words = rf"^data/pairs/{split}\.parquet: none of the \d+ trials is {missing} \(same = {1 - kind}\)"
    with pytest.raises(ValueError, match=words):
        evaluate.run(params(root, "evaluate"), root)


def test_a_trial_that_is_there_twice_is_refused(fresh: Fresh) -> None:
    root = fresh()
    frame = artifacts.PAIRS["test"].read(root)
    turned = frame.iloc[[4]].rename(columns={"left": "right", "right": "left"})[list(frame.columns)]
    artifacts.PAIRS["test"].write(pd.concat([frame, turned]), root)
    with pytest.raises(ValueError, match=r"^data/pairs/test\.parquet: rows 5 and 161 are one trial, of "):
        evaluate.run(params(root, "evaluate"), root)


def test_listed_tasks_are_measured_and_a_wrong_id_names_its_line(fresh: Fresh) -> None:
    root = fresh()
    test = artifacts.SAMPLES.read(root).query("split == 'test'")
    both = test.groupby("class")["id"].agg(list)
    lines = [f"{ids[1]} {ids[0]}" for ids in both]
    (root / "tasks.txt").write_text("\n".join(lines), encoding="utf-8")
    evaluate.run(params(root, "evaluate", tasks="tasks.txt"), root)
    vectors = embeddings(root)
    near = [[np.linalg.norm(vectors.loc[ids[1]] - vectors.loc[other[0]]) for other in both] for ids in both]
    told = artifacts.METRICS.read(root)["oneshot_tasks"]
    assert told["accuracy"] == np.mean(np.argmin(near, axis=1) == np.arange(len(both)))
    assert told["protocol"] == "6-way 1-shot, 6 probes in 1 listed task, nearest"
    (root / "tasks.txt").write_text("\n".join([*lines, f"gone.png {both.iloc[0][0]}"]), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"^evaluate\.tasks: tasks\.txt: line 7: 'gone\.png' is no sample of val or test"
    ):
        evaluate.run(params(root, "evaluate", tasks="tasks.txt"), root)


def test_what_the_model_carries_is_a_param(fresh: Fresh) -> None:
    root = fresh()
    asked = {"threshold": "cost", "cost": "rare", "calibration": "isotonic", "normalisation": "s"}
    evaluate.run(params(root, "evaluate", **asked), root)
    told, metrics = artifacts.CALIBRATION.read(root), artifacts.METRICS.read(root)
    assert told["threshold"] == told["thresholds"]["cost_rare"]
    assert told["threshold"]["costs"] == {"prior": 0.01, "cost_miss": 1.0, "cost_false_accept": 1.0}
    assert told["probability"] == told["calibrations"]["isotonic"]
    assert metrics["calibration"]["delivered"] == "isotonic"
    assert "s-norm by 6 training classes, 6 of them in the trials" in metrics["verification_normalised"]["protocol"]
    # The model computes plain scores, so what it carries belongs to those.
    assert told["threshold"]["distance"] == "euclidean"


def test_a_missing_model_says_what_to_do(fresh: Fresh) -> None:
    root = fresh()
    (root / artifacts.TRAIN.path).unlink()
    with pytest.raises(artifacts.ArtifactError, match=r"train\.json: missing; run `dvc repro`"):
        evaluate.run(params(root, "evaluate"), root)
