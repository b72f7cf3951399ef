from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from likewise import artifacts, cli
from likewise.delivery import tracking
from likewise.delivery.model import Model
from likewise.delivery.registry import Registered
from tests.data.pictures import encoded
from tests.small import Fresh, empty_store, evaluated, fresh, isolated, registered

__all__ = ["empty_store", "evaluated", "fresh", "isolated", "registered"]

Likewise = Callable[..., "Done"]


class Done:
    """What a command left: its exit code and its output."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Likewise:
    """Return a function that runs a command of `likewise` in a folder, in this process."""

    def command(folder: Path, *words: object) -> Done:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["likewise", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
            sys.exit(0)
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, *capsys.readouterr())

    return command


def refused(done: Done, words: str) -> None:
    assert done.code == 2
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith("likewise: ")
    assert words in done.err


@pytest.fixture
def pictures(evaluated: Path, tmp_path: Path) -> list[Path]:
    media, _ = artifacts.read_media(evaluated)
    files = [tmp_path / f"{number}.png" for number in range(2)]
    for file, picture in zip(files, media, strict=False):
        file.write_bytes(encoded(np.array(picture[0])))
    return files


@pytest.fixture
def folder(evaluated: Path, tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    for name in artifacts.DELIVERED:
        shutil.copy2(evaluated / name, made)
    return made


def test_check_says_nothing_when_all_is_well(evaluated: Path, run: Likewise) -> None:
    done = run(evaluated / "data", "check")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_check_names_the_key(fresh: Fresh, run: Likewise) -> None:
    root = fresh()
    params = root / "params.yaml"
    params.write_text(params.read_text(encoding="utf-8").replace("  loss: triplet", "  loss: tripplet"), "utf-8")
    refused(run(root, "check"), "params.yaml: train.loss: given the text 'tripplet'; allowed: ")


def test_check_outside_a_project(tmp_path: Path, run: Likewise) -> None:
    refused(run(tmp_path, "check"), "no dvc.yaml here or above; run this inside a Likewise project")


@pytest.mark.parametrize("by", ["folder", "registry"])
def test_compare_says_what_the_model_says(
    registered: tuple[Path, Registered], folder: Path, pictures: list[Path], run: Likewise, by: str
) -> None:
    answer = Model.from_folder(folder).compare(*pictures)
    options = ["--model", folder] if by == "folder" else []
    told = json.loads(run(registered[0], "compare", *pictures, *options, "--json").out)
    assert told == asdict(answer)
    lines = run(registered[0], "compare", *pictures, *options).out.splitlines()
    assert lines == [
        "same" if answer.same else "different",
        f"distance     {answer.distance:.4f}",
        f"score        {answer.score:.4f} (same from {answer.threshold:.4f})",
        f"probability  {answer.probability:.1%}",
    ]


def test_compare_of_an_image_with_itself(folder: Path, pictures: list[Path], run: Likewise) -> None:
    assert run(folder, "compare", pictures[0], pictures[0], "--model", ".").out.startswith(
        "same\ndistance     0.0000\n"
    )


def test_compare_refuses_in_a_line(
    folder: Path, evaluated: Path, pictures: list[Path], tmp_path: Path, run: Likewise
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    refused(run(tmp_path, "compare", pictures[0], bad, "--model", folder), f"{bad}: not an image that Pillow can read")
    refused(run(tmp_path, "compare", tmp_path / "gone.png", bad, "--model", folder), "No such file or directory")
    refused(run(tmp_path, "compare", tmp_path, bad, "--model", folder), "Is a directory")
    refused(run(tmp_path, "compare", *pictures, "--model", tmp_path / "empty"), "model.json: missing")
    refused(run(tmp_path, "compare", *pictures), "outside a project MLFLOW_TRACKING_URI must say")
    refused(run(evaluated, "compare", *pictures), "there is no registry")


def test_compare_with_an_unknown_alias(
    registered: tuple[Path, Registered], pictures: list[Path], run: Likewise
) -> None:
    done = run(registered[0], "compare", *pictures, "--model", "models:/likewise@winner")
    refused(done, "models:/likewise@winner: ")
    assert "`make repro` makes and registers a model" in done.err


def test_augment_says_what_is_on_and_shows_it(fresh: Fresh, run: Likewise, tmp_path: Path) -> None:
    root = fresh()
    nothing = "train.augment: nothing is on; training sees the samples as they are stored.\n"
    assert run(root / "data", "augment").out == nothing
    assert set(json.loads(run(root, "augment", "--json").out)) == {"image", "audio", "sequence", "text"}
    default = root / "reports" / "augment.png"
    assert run(root / "data", "augment", "--show").out == f"{default}\n"
    out = tmp_path / "made" / "sheet.png"
    options = ("--out", out, "--classes", 2, "--versions", 3, "--seed", 5)
    assert json.loads(run(root, "augment", "--show", *options, "--json").out) == {"path": str(out)}
    for file in (default, out):
        assert file.read_bytes().startswith(b"\x89PNG")
    assert default.read_bytes() != out.read_bytes()


def test_augment_before_there_are_samples(fresh: Fresh, run: Likewise) -> None:
    root = fresh()
    shutil.rmtree(root / "data" / "ingest")
    refused(run(root, "augment", "--show"), "summary.json: missing; run `dvc repro`")
    refused(run(root, "augment", "--show", "--out", "sheet.gif"), "sheet.gif: a contact sheet is a PNG file")


def test_apply_changes_the_settings_and_nothing_else(fresh: Fresh, run: Likewise, tmp_path: Path) -> None:
    root, best = fresh(), tmp_path / "best.yaml"
    before = (root / "params.yaml").read_text(encoding="utf-8")
    best.write_text(
        "train:\n  margin: 0.35\n  loss: triplet\n  augment:\n    image:\n      flip: 0.5\n", encoding="utf-8"
    )
    done = run(root / "data", "apply", best)
    assert done.out.splitlines() == [
        "train.margin: 0.2 -> 0.35",
        "train.augment.image.flip: 0.0 -> 0.5",
        "params.yaml: 2 of 3 settings changed; `make repro` runs what is stale now",
    ]
    after = (root / "params.yaml").read_text(encoding="utf-8")
    assert sum(a != b for a, b in zip(before.splitlines(), after.splitlines(), strict=True)) == 2
    assert json.loads(run(root, "apply", best, "--json").out) == {}


def test_apply_from_mlflow(fresh: Fresh, run: Likewise) -> None:
    root = fresh()
    client = tracking.connect(tracking.tracking_uri(root))
    made = client.create_run(tracking.experiment_id(client, root))
    client.log_text(made.info.run_id, "train:\n  margin: 0.35\n", "best.yaml")
    address = f"runs:/{made.info.run_id}/best.yaml"
    assert json.loads(run(root, "apply", address, "--json").out) == {"train.margin": [0.2, 0.35]}
    refused(run(root, "apply", f"runs:/{made.info.run_id}/no.yaml"), "no.yaml")


APPLIED = {
    "train:\n  los: triplet\n": "train.los: there is no such key; did you mean loss?",
    "train:\n  margin: -1\n": "train.margin: given -1; allowed: greater than or equal to 0",
    "train: 3\n": "params.yaml: train: ",
    "- 1\n": "expected blocks as in params.yaml",
}


@pytest.mark.parametrize("text", APPLIED)
def test_apply_refuses_in_a_line_and_changes_nothing(text: str, fresh: Fresh, run: Likewise, tmp_path: Path) -> None:
    root, best = fresh(), tmp_path / "best.yaml"
    before = (root / "params.yaml").read_bytes()
    best.write_text(text, encoding="utf-8")
    refused(run(root, "apply", best), APPLIED[text])
    best.unlink()
    refused(run(root, "apply", best), "best.yaml: no such file")
    assert (root / "params.yaml").read_bytes() == before


def test_where_things_are(registered: tuple[Path, Registered], run: Likewise, tmp_path: Path) -> None:
    root, _ = registered
    assert run(root / "data", "where", "tracking").out == f"sqlite:///{root}/mlflow.db\n"
    assert run(root, "where", "report").out == f"{root}/{artifacts.REPORT.path}\n"
    refused(run(root, "where", "treasure"), "unknown place 'treasure'; known: report, tracking")


def test_where_is_the_report_before_there_is_one(fresh: Fresh, run: Likewise) -> None:
    root = fresh()
    (root / artifacts.REPORT.path).unlink()
    refused(run(root, "where", "report"), "report.html: missing; run `dvc repro`")


def test_promote_and_rollback_say_who_is_champion(fresh: Fresh, run: Likewise) -> None:
    root = fresh()
    run(root, "register")
    refused(run(root, "rollback", "--reason", "x"), "likewise has no previous champion to go back to")
    metrics = artifacts.METRICS.read(root)
    metrics["verification"]["accuracy"] = 0.5
    artifacts.METRICS.write(metrics, root)
    assert "kept: eer" in run(root, "register").out
    assert run(root, "promote", "--version", "2", "--reason", "x").out == "likewise 2 is the champion now\n"
    assert json.loads(run(root, "rollback", "--reason", "y", "--json").out) == {"name": "likewise", "champion": 1}


def test_lineage_tells_where_a_version_came_from(registered: tuple[Path, Registered], run: Likewise) -> None:
    root, made = registered
    told = json.loads(run(root, "lineage", "--json").out)
    assert (told["name"], told["version"], told["run_id"]) == ("likewise", 1, made.run_id)
    assert told["hashes"]["weights"] == artifacts.file_sha256(root / artifacts.WEIGHTS.path)
    text = run(root / "data", "lineage", "likewise/1").out
    assert text.startswith("likewise 1 (champion)\n")
    assert told["hashes"]["identity"] in text
    samples = artifacts.sha256(root / artifacts.SAMPLES.path)
    (found,) = json.loads(run(root, "lineage", "--data", samples[:8], "--json").out)["versions"]
    assert (found["version"], found["by"]) == (1, [f"samples {samples}"])
    assert run(root, "lineage", "--commit", "deadbeef").out == "no registered version was made from deadbeef\n"


def test_lineage_refuses_in_a_line(registered: tuple[Path, Registered], tmp_path: Path, run: Likewise) -> None:
    root, _ = registered
    refused(run(root, "lineage", "7"), "7: there is no such version of likewise; known: 1 (champion)")
    refused(run(root, "lineage", "--data", "ab", "--commit", "cd"), "give --data or --commit, not both")
    refused(run(root, "lineage", "--data", "ab"), "give at least the first 4 characters of a hash")
    refused(run(tmp_path, "lineage"), "outside a project MLFLOW_TRACKING_URI must say where the registry is")


def test_verify_ends_with_0_or_1_and_says_what_differs(
    registered: tuple[Path, Registered], run: Likewise, monkeypatch: pytest.MonkeyPatch
) -> None:
    from likewise.delivery import reproduction
    from likewise.delivery.reproduction import Compared, Verdict

    for found, code, word in (("a", 0, "bit-equal"), ("b", 1, "NOT equal")):
        verdict = Verdict("likewise", 1, "way", "code", True, (Compared("models/x", "a", found),), (), ())
        monkeypatch.setattr(reproduction, "verify", lambda *_, verdict=verdict, **__: verdict)
        done = run(registered[0], "verify", "1")
        assert (done.code, done.out.splitlines()[0]) == (code, f"likewise 1: {word}")
        told = run(registered[0], "verify", "--json")
        assert (told.code, json.loads(told.out)["equal"]) == (code, code == 0)


def test_verify_refuses_in_a_line(registered: tuple[Path, Registered], tmp_path: Path, run: Likewise) -> None:
    refused(run(registered[0], "verify"), "champion: no dvc.lock was kept with this version")
    refused(run(registered[0], "verify", "7"), "7: there is no such version of likewise; known: 1 (champion)")
    refused(run(tmp_path, "verify"), "no dvc.yaml here or above")


def test_doctor_ends_with_1_where_there_is_a_problem(
    registered: tuple[Path, Registered], tmp_path: Path, run: Likewise, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = json.loads(run(tmp_path, "doctor", "--json").out)["checks"]
    assert {"topic": "project", "state": "note"}.items() <= next(o for o in outside if o["topic"] == "project").items()
    done = run(registered[0], "doctor", "--json")
    told = json.loads(done.out)
    found = {each["topic"]: each for each in told["checks"]}
    assert {"python", "libraries", "gpu", "disk", "checkpoints", "prefect", "params", "dvc", "mlflow"} <= found.keys()
    assert found["mlflow"]["state"] == found["params"]["state"] == "ok"
    # It was made by hand, without `dvc init`.
    assert (found["dvc"]["state"], done.code) == ("problem", 1)
    assert told["problems"] >= 1
    lines = run(registered[0], "doctor").out.splitlines()
    assert any(line.startswith("problem  dvc          there is no .dvc folder") for line in lines)
    assert any("-> run this in a clone of the project, or `dvc init`" in line for line in lines)


def test_register_prints_the_version_and_again_the_same_one(fresh: Fresh, run: Likewise) -> None:
    root = fresh()
    first = json.loads(run(root, "register", "--json").out)
    assert (first["name"], first["version"], first["created"]) == ("likewise", 1, True)
    assert first["aliases"] == ["champion"]
    assert first["metrics"]["verification.eer"] == artifacts.METRICS.read(root)["verification"]["eer"]
    again = json.loads(run(root, "register", "--json").out)
    assert first["decision"] == "promoted: there was no champion"
    assert again == first | {"created": False, "decision": ""}
    text = run(root, "register").out
    assert "likewise version 1" in text
    assert "champion" in text
    assert f"{first['metrics']['verification.eer']:.2%}" in text


def test_register_in_an_experiment_is_skipped_aloud(
    fresh: Fresh, run: Likewise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "tried")
    done = run(fresh(), "register")
    assert (done.code, done.out) == (0, "register: skipped, an experiment registers nothing\n")


def test_register_refuses_in_a_line(fresh: Fresh, run: Likewise, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fresh()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    refused(run(root, "register"), "MLflow: API request to http://127.0.0.1:9")
    (root / artifacts.METRICS.path).unlink()
    refused(run(root, "register"), "metrics.json: missing; run `dvc repro`")


def test_an_unknown_command_ends_with_2_and_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "likewise.cli", "comapre"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "compare" in done.stderr
