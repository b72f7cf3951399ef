from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, PERMISSION_DENIED
from safetensors.torch import load_file, save_file

from likewise import artifacts
from likewise.delivery import card, promotion, tracking
from likewise.delivery.loading import download
from likewise.delivery.model import Model
from likewise.delivery.promotion import promote, rollback
from likewise.delivery.registry import Registered, RegistryError, register
from likewise.delivery.store import HEADING, holder
from likewise.delivery.trials import GateTrials, NotComparable
from tests.data.pictures import encoded
from tests.small import RULE, Fresh

NAME = "likewise"


def client_of(root: Path) -> MlflowClient:
    return tracking.connect(f"sqlite:///{root / 'mlflow.db'}")


def version(root: Path, number: int) -> ModelVersion:
    return client_of(root).get_model_version(NAME, str(number))


def aliases(root: Path) -> dict[str, int]:
    return {k: int(v) for k, v in client_of(root).get_registered_model(NAME).aliases.items()}


def model_of(root: Path, number: int) -> Model:
    return Model.from_folder(download(f"models:/{NAME}/{number}", root))


def spoil(root: Path, *, noise: float = 3.0) -> None:
    """Make the project's model another one that is clearly worse: noise on its weights."""
    path = root / artifacts.WEIGHTS.path
    weights = load_file(path)
    draw = torch.Generator().manual_seed(0)
    save_file({k: v + noise * torch.randn(v.shape, generator=draw) for k, v in weights.items()}, path)
    about = artifacts.MODEL.read(root)
    artifacts.MODEL.write(about | {"weights_sha256": artifacts.file_sha256(path)}, root)


def again(root: Path) -> Registered:
    return register(root, name=NAME, rule=RULE)


@pytest.fixture
def worse_first(fresh: Fresh, tmp_path: Path) -> Path:
    """A project whose first version is a spoilt model, the good one lying in wait."""
    root = fresh()
    shutil.copytree(root / "models", tmp_path / "good")
    spoil(root)
    first = again(root)
    assert (first.version, first.decision) == (1, "promoted: there was no champion")
    shutil.copytree(tmp_path / "good", root / "models", dirs_exist_ok=True)
    return root


def test_a_better_model_takes_the_place_and_both_pages_say_why(worse_first: Path) -> None:
    done = again(worse_first)
    assert (done.version, done.aliases) == (2, ("champion",))
    assert done.decision.startswith("promoted: eer 0")
    assert aliases(worse_first) == {"champion": 2, "previous": 1}
    new, old = version(worse_first, 2), version(worse_first, 1)
    reason = done.decision.removeprefix("promoted: ")
    assert new.tags["likewise.gate"] == "promoted"
    assert new.tags["likewise.gate.against"] == "1"
    assert new.tags["likewise.gate.reason"] == reason
    assert float(new.tags["likewise.gate.least"]) > 0
    assert f"- Against version 1: it became champion; {reason}." in str(new.description)
    assert f"- It gave its place to version 2; {reason}." in str(old.description)
    assert str(old.description).count("## Decisions") == 1


def test_a_worse_model_is_kept_out_and_both_pages_say_why(fresh: Fresh) -> None:
    root = fresh()
    again(root)
    spoil(root)
    done = again(root)
    assert (done.version, done.aliases) == (2, ("challenger",))
    assert done.decision.startswith("kept: eer 0")
    assert aliases(root) == {"champion": 1, "challenger": 2}
    assert version(root, 2).tags["likewise.gate"] == "kept"
    assert "It kept its place against version 2; " in str(version(root, 1).description)
    assert "it did not become champion" in str(version(root, 2).description)


def test_the_figures_are_those_of_the_two_models_on_the_test_pairs(worse_first: Path) -> None:
    again(worse_first)
    tags = version(worse_first, 2).tags
    trials = GateTrials.of(worse_first)
    for number, figure in ((2, "challenger"), (1, "champion")):
        judged = trials.judged(model_of(worse_first, number))
        from likewise.evaluation.verification import roc_from_trials

        assert float(tags[f"likewise.gate.{figure}"]) == pytest.approx(
            roc_from_trials(judged.scores, trials.same).eer, rel=1e-5
        )
    pairs = artifacts.PAIRS["test"].read(worse_first)
    assert float(tags["likewise.gate.trials"]) == len(pairs)


def test_the_scores_of_every_trial_are_kept_with_the_run(worse_first: Path) -> None:
    done = again(worse_first)
    found = list(worse_first.glob("mlartifacts/**/gate/version-2/trials.parquet"))
    assert len(found) == 1
    kept, pairs = pd.read_parquet(found[0]), artifacts.PAIRS["test"].read(worse_first)
    pd.testing.assert_frame_equal(kept[["left", "right", "same"]], pairs[["left", "right", "same"]], check_dtype=False)
    model = model_of(worse_first, 2)
    wanted = GateTrials.of(worse_first).judged(model).scores
    np.testing.assert_allclose(kept["score"], wanted, rtol=1e-6)
    assert done.run_id in str(found[0])


def test_nothing_is_decided_twice_but_against_another_champion_it_is(fresh: Fresh) -> None:
    root = fresh()
    again(root)
    spoil(root)
    kept = again(root)
    assert again(root).decision == ""
    assert str(version(root, 2).description).count("Against version 1") == 1
    promote(root, name=NAME, version=2, reason="to see")
    rollback(root, name=NAME, reason="seen")
    # The last word on version 2 was a person's, against version 1.
    assert again(root).decision == ""
    spoil(root, noise=9.0)
    third = again(root)
    assert (third.version, third.decision[:5]) == (3, "kept:")
    assert kept.version == 2


def test_a_page_has_room_for_the_newest_decisions() -> None:
    page = "# Card\n\n" + "x" * 3900 + "\n"
    for number in range(40):
        page = promotion.noted(page, f"Decision {number}: {'because ' * 20}")
        assert len(page) <= card.PAGE
    assert page.startswith("# Card\n\nxxx")
    assert page.count(HEADING) == page.count(promotion.OLDER) == 1
    told = [int(line.split()[2].rstrip(":")) for line in page.splitlines() if line.startswith("- Decision")]
    assert told == list(range(40 - len(told), 40))
    assert len(told) >= 4
    short = promotion.noted(promotion.noted("# Card\n", "one\nline"), "two")
    assert short == "# Card\n\n## Decisions\n\n- one\\nline\n- two\n"


def test_a_person_may_overrule_and_go_back(fresh: Fresh) -> None:
    root = fresh()
    again(root)
    spoil(root)
    again(root)
    promote(root, name=NAME, version=2, reason="the old one hurts twins")
    assert aliases(root) == {"champion": 2, "previous": 1}
    assert version(root, 2).tags["likewise.gate.reason"] == "by hand: the old one hurts twins"
    assert "It gave its place to version 2; by hand: the old one hurts twins." in str(version(root, 1).description)
    assert rollback(root, name=NAME, reason="it hurt others") == 1
    assert aliases(root) == {"champion": 1, "previous": 2}
    assert "rolled back: it hurt others" in str(version(root, 1).description)


def test_what_cannot_be_promoted_is_refused(fresh: Fresh) -> None:
    root = fresh()
    again(root)
    with pytest.raises(RegistryError, match="likewise has no version 7; known: 1"):
        promote(root, name=NAME, version=7, reason="x")
    with pytest.raises(RegistryError, match="likewise 1 is the champion already"):
        promote(root, name=NAME, version=1, reason="x")
    with pytest.raises(RegistryError, match="no previous champion to go back to"):
        rollback(root, name=NAME, reason="x")
    with pytest.raises(RegistryError, match=r"MLflow: .*Other"):
        rollback(root, name="Other", reason="x")


def test_another_process_that_moved_the_champion_meanwhile_is_told_of(
    worse_first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = promotion._judged

    def moved(client: MlflowClient, *arguments: object) -> object:
        found = judge(client, *arguments)  # type: ignore[arg-type]
        client.set_registered_model_alias(NAME, "champion", "2")
        return found

    monkeypatch.setattr(promotion, "_judged", moved)
    with pytest.raises(RegistryError, match="another process changed the champion meanwhile"):
        again(worse_first)
    assert holder(client_of(worse_first), NAME, "champion") == 2
    assert "likewise.gate" not in version(worse_first, 2).tags


def test_of_two_that_decide_at_once_the_one_that_began_first_is_told_to_come_again(
    worse_first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = promotion._judged

    def interrupted(client: MlflowClient, *arguments: object) -> object:
        found = judge(client, *arguments)  # type: ignore[arg-type]
        client.set_registered_model_tag(NAME, promotion.CLAIM_TAG, "version 7, of another process")
        return found

    with monkeypatch.context() as patched, pytest.raises(RegistryError) as caught:
        patched.setattr(promotion, "_judged", interrupted)
        again(worse_first)
    assert str(caught.value) == (
        f"{NAME}: another process decides on version 7 at this moment; run `likewise register` again"
    )
    assert holder(client_of(worse_first), NAME, "champion") == 1
    assert "likewise.gate" not in version(worse_first, 2).tags
    again(worse_first)
    assert version(worse_first, 2).tags["likewise.gate"]


@pytest.mark.parametrize(("code", "decided"), [(BAD_REQUEST, True), (PERMISSION_DENIED, False)])
def test_of_two_first_claims_at_one_moment_the_refused_one_is_made_again(
    worse_first: Path, monkeypatch: pytest.MonkeyPatch, code: int, decided: bool
) -> None:
    claim, asked = MlflowClient.set_registered_model_tag, list[str]()

    def refused_once(self: MlflowClient, *words: str) -> None:
        asked.append(words[-1])
        if len(asked) == 1:
            raise MlflowException("duplicate key value violates unique constraint", error_code=code)
        claim(self, *words)

    monkeypatch.setattr(MlflowClient, "set_registered_model_tag", refused_once)
    with nullcontext() if decided else pytest.raises(RegistryError, match="duplicate key"):
        again(worse_first)
    assert len(asked) == 1 + decided
    assert len(set(asked)) == 1
    assert ("likewise.gate" in version(worse_first, 2).tags) == decided


def of_other_size(root: Path, size: int) -> Model:
    """The project's model as one that would have been trained on pictures of another size."""
    from likewise.data import kinds
    from likewise.learning import encoders

    model = model_of(root, 1)
    encoder = encoders.build("mlp", (1, size, size), 8, seed=0).eval()
    preprocessing = kinds.build("image", height=size, width=size, channels=1)
    return Model(
        encoder,
        preprocessing=preprocessing,
        distance=model.distance.name,
        judgement=model.judgement,
    )


def test_a_champion_of_other_preprocessing_is_judged_on_the_raw_files(fresh: Fresh) -> None:
    root = fresh()
    again(root)
    trials, other = GateTrials.of(root), of_other_size(root, 6)
    with pytest.raises(NotComparable, match=r"of the \d+ raw files are not there to be read again"):
        trials.judged(other)
    media, _ = artifacts.read_media(root)
    for row, path in zip(trials.samples["row"], trials.samples["path"], strict=True):
        file = root / "data" / "raw" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(media[row, 0]))
    found = trials.judged(other)
    embeddings = torch.from_numpy(other.embed([root / "data/raw" / path for path in trials.samples["path"]]))
    wanted = other.distance.score(other.distance.paired(embeddings[trials.left], embeddings[trials.right]))
    np.testing.assert_array_equal(found.scores, wanted.numpy())


def test_a_champion_that_cannot_be_judged_stays(fresh: Fresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fresh()
    again(root)
    spoil(root)
    for path in artifacts.DELIVERED:
        shutil.copy2(root / path, tmp_path)
    about = artifacts.MODEL.read(root)
    other = about | {"preprocessing": about["preprocessing"] | {"height": 6}}
    (tmp_path / "model.json").write_text(json.dumps(other), encoding="utf-8")
    monkeypatch.setattr(promotion, "download", lambda *_, to: tmp_path)
    done = again(root)
    assert done.decision.startswith("kept: version 1 cannot be judged on these trials: it makes other samples")


def test_an_unknown_guard_is_refused_and_known_columns_are_listed(fresh: Fresh) -> None:
    trials = GateTrials.of(fresh())
    with pytest.raises(ValueError, match=r"register\.gate\.guard: the samples have no column 'clas'; known: class"):
        trials.shared("clas")


def test_a_guarded_column_names_the_sides_of_each_trial(fresh: Fresh) -> None:
    trials = GateTrials.of(fresh())
    assert trials.shared(None).slices is None
    found = trials.shared("class").slices
    assert found is not None
    assert found.tolist() == trials.shared(None).units.tolist()
