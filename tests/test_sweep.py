"""The sweep flow, with a training that takes no time: cut short, gone on, and its best applied."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import study as studies
from flows import sweep_pool, sweep_record, trial
from likewise.config import load_params, read_yaml
from likewise.delivery import labels, tracking
from likewise.stages import sweep_params
from tests.prefect_server import PYTHON, PrefectServer, working
from tests.projects import Project, make_project
from tests.small import empty_store, isolated
from tests.stub import commit
from tests.test_sweep_pool import Recorded

__all__ = ["empty_store", "isolated"]

STAGE = '''
"""A stage that makes what the real one makes, by name; train comes to an EER that follows from the margin."""
import json, os, pathlib, re, sys, time

made = {"ingest": ["data/ingest/media.npy", "data/classes/train.parquet"], "pairs": ["data/pairs/val.parquet"],
        "triplets": ["data/triplets/train.parquet"], "train": ["models/train/history.csv", "models/train/train.json"]}
content = {}
if sys.argv[1] == "train":
    margin = float(re.search(r"\\n  margin: (\\S+)", pathlib.Path("params.yaml").read_text()).group(1))
    rows = []
    for epoch in range(1, 5):
        rows.append((epoch, margin + 0.1 / epoch))
        print(f"train: epoch {epoch:>3}/4  loss 0.1  val EER {rows[-1][1]:7.3%}  zero-loss 0.0%", flush=True)
        time.sleep(float(os.environ.get("STUB_SECONDS", "0.05")) * (20 if margin > 0.5 else 1))
    content["history.csv"] = "epoch,val_eer\\n" + "".join(f"{epoch},{eer}\\n" for epoch, eer in rows)
    content["train.json"] = json.dumps({"best_val_eer": rows[-1][1], "best_epoch": 4, "train_key": f"key{margin}"})
for name in made[sys.argv[1]]:
    path = pathlib.Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content.get(path.name, name))
'''

DVC = """
stages:
  ingest: {cmd: python -S stub.py ingest, deps: [stub.py, digits], outs: [data/ingest, data/classes/train.parquet]}
  pairs: {cmd: python -S stub.py pairs, deps: [stub.py, data/ingest], outs: [data/pairs/val.parquet]}
  triplets: {cmd: python -S stub.py triplets, deps: [stub.py, data/ingest], outs: [data/triplets/train.parquet]}
  train: {cmd: python -S stub.py train, deps: [stub.py, data/ingest], params: [train], outs: [models/train]}
"""

SPACE = """
sweep:
  trials: 3
  seed: 0
  random: 4
  prune_after: 1
  prune_epoch: 2
  space:
    margin: {choices: [0.2, 0.1, 0.6]}
  variants: []
"""


@pytest.fixture
def project(tmp_path: Path, empty_store: Path) -> Project:
    """A project that trains in no time: the larger the margin, the higher the EER."""
    made = make_project(tmp_path)
    params = made.root / "params.yaml"
    text = params.read_text(encoding="utf-8").partition("\nsweep:")[0] + SPACE
    params.write_text(text, encoding="utf-8")
    (made.root / "stub.py").write_text(STAGE, encoding="utf-8")
    (made.root / "dvc.yaml").write_text(DVC, encoding="utf-8")
    made.run("git", "rm", "-q", "-r", "--cached", "data", ".venv")
    commit(made, "A project that trains in no time")
    shutil.copy2(empty_store, made.root)
    return made


def environment(project: Project, server: PrefectServer, **more: str) -> dict[str, str]:
    folder = project.root.parent
    sweeps = f"sqlite:///{folder / 'sweeps.db'}"
    source = str(project.root / "src")
    return server.environment | {
        "LIKEWISE_SWEEPS": sweeps,
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PYTHONPATH": source,
        **more,
    }


def study_of(project: Project, monkeypatch: pytest.MonkeyPatch) -> studies.Study:
    """Open the one study in the project's database."""
    url = f"sqlite:///{project.root.parent / 'sweeps.db'}"
    (name,) = optuna.get_all_study_names(url)
    monkeypatch.setattr(studies, "name_of", lambda *_: name)
    blocks = load_params(project.root)
    params = sweep_params.Params.model_validate(blocks["sweep"].model_dump())
    return studies.Study(params, blocks["train"].model_dump(), key="", storage=url)


def test_a_sweep_that_is_killed_goes_on_and_its_best_is_applied(
    project: Project, prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = environment(project, prefect_server, STUB_SECONDS="3")
    with project.start(PYTHON, "-m", "flows.sweep", environment=slow) as flow:
        assert flow.stdout is not None
        log = next(line for line in flow.stdout if "train: epoch   2/4" in line)
        children = psutil.Process(flow.pid).children(recursive=True)
        flow.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs(children, timeout=15)
        assert not [child for child in alive if "stub.py" in " ".join(child.cmdline())], log

    said = project.run(PYTHON, "-m", "flows.sweep", environment=environment(project, prefect_server)).stdout
    study = study_of(project, monkeypatch)
    first, *others = study.trials()
    assert first.state == TrialState.FAIL
    assert first.user_attrs[studies.RETRIED]
    assert [t.user_attrs[studies.SETTINGS]["margin"] for t in (first, others[0])] == [0.2, 0.2]
    values = [float(each.value or 0) for each in others if each.state == TrialState.COMPLETE]
    assert study.counted() == 3
    best = study.best()
    assert best is not None
    assert min(values) == best.value
    assert "Traceback" not in said
    for each in study.trials(TrialState.PRUNED):
        assert each.user_attrs[studies.REASON].startswith("ended after epoch ")
        assert len(each.intermediate_values) < 4
    assert list((project.root / ".dvc/tmp/exps/standalone").glob("tmp*")) == [], "copies of the project stay behind"
    assert project.run("git", "status", "--porcelain", "params.yaml", "src").stdout == ""

    summary = (project.root / "reports/sweep/summary.md").read_text(encoding="utf-8")
    assert "likewise apply runs:/" in summary
    project.run("likewise", "apply", "reports/sweep/best.yaml", environment={"PYTHONPATH": str(project.root / "src")})
    assert read_yaml(project.root / "params.yaml")["train"]["margin"] == best.user_attrs[studies.SETTINGS]["margin"]
    assert "Stage 'train' is cached" in project.run("dvc", "repro", "train").stdout, "the best is trained once"


def test_trials_run_side_by_side_on_a_pool_and_a_hopeless_one_is_ended_by_a_cancel(
    project: Project, prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefect_server.deploy(project, LIKEWISE_GPUS="2")
    settings = environment(project, prefect_server, STUB_SECONDS="0.3")
    del settings["PYTHONPATH"]
    space = {**read_yaml_text(SPACE)["sweep"], "seed": 4, "space": {"margin": {"choices": [0.2, 0.6]}}}
    study = studies.Study(
        sweep_params.Params.model_validate(space), {"margin": 0.2}, key="k", storage=InMemoryStorage()
    )
    record = Recorded()

    @flow(name="sweep")
    def sweep() -> None:
        sweep_pool.run(study, project.root, record, total=2, pool="gpu", hours=None)  # type: ignore[arg-type]

    with (
        temporary_settings({PREFECT_API_URL: prefect_server.api}),
        working(prefect_server, "gpu", project.root.parent / "worker", environment=settings),
    ):
        sweep()
    best, hopeless = study.trials()
    assert [each.user_attrs[studies.SETTINGS]["margin"] for each in (best, hopeless)] == [0.2, 0.6]
    assert (best.state, best.value) == (TrialState.COMPLETE, 0.2 + 0.1 / 4)
    assert hopeless.state == TrialState.PRUNED
    assert hopeless.user_attrs[studies.REASON].startswith("ended after epoch ")
    assert str(hopeless.datetime_start) < str(best.datetime_complete), "side by side"
    runs = [prefect_server.run(each.user_attrs[studies.RUN]) for each in (best, hopeless)]
    assert [run["state_type"] for run in runs] == ["COMPLETED", "CANCELLED"]
    assert record.said[-1] == (hopeless.number, hopeless.user_attrs[studies.REASON])


def test_runs_of_trials_stand_below_the_sweeps(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy2(empty_store, tmp_path)
    params = sweep_params.Params.model_validate(read_yaml_text(SPACE)["sweep"])
    study = studies.Study(params, {"margin": 0.2}, key="k", storage=InMemoryStorage())
    record = sweep_record.Record(tmp_path, study, subject="digits")
    client = tracking.connect(tracking.tracking_uri(tmp_path))
    asked = study.ask(3)
    assert asked is not None
    place = tracking.experiment_id(client, tmp_path)
    name = studies.experiment_name(study.name, asked.settings)
    child = client.create_run(place, tags={labels.EXPERIMENT_TAG: name}).info.run_id
    record.trial(asked.number)
    found = client.get_run(child)
    assert found.data.tags["mlflow.parentRunId"] == record.run_id
    assert found.data.tags[sweep_record.TRIAL_TAG] == "0"
    assert sweep_record.PRUNED_TAG not in found.data.tags
    study.prune(asked.number, "why")
    record.trial(asked.number, pruned="why")
    found = client.get_run(child)
    assert (found.info.status, found.data.tags[sweep_record.PRUNED_TAG]) == ("KILLED", "why")
    record.end("FINISHED", {"summary.md": "# Sweep"})
    again = sweep_record.Record(tmp_path, study, subject="digits")
    assert again.run_id == record.run_id, "a sweep that goes on has one run"


def test_a_tracking_store_that_is_down_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    said: list[str] = []
    monkeypatch.setattr(sweep_record, "warn", said.append)
    params = sweep_params.Params.model_validate(read_yaml_text(SPACE)["sweep"])
    study = studies.Study(params, {"margin": 0.2}, key="k", storage=InMemoryStorage())
    record = sweep_record.Record(tmp_path, study, subject="digits")
    record.trial(0)
    record.end("FINISHED", {})
    assert record.run_id == ""
    assert len(said) == 1
    assert "MLflow cannot be reached" in said[0]


def read_yaml_text(text: str) -> dict[str, dict[str, object]]:
    from ruamel.yaml import YAML

    found: dict[str, dict[str, object]] = YAML(typ="safe", pure=True).load(text)
    return found


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("train: epoch   3/12  loss 0.04502  val EER  8.333%  zero-loss  99.8%  learning rate 3.76e-05", (3, 0.08333)),
        ("train: epoch  12/12  loss 0.1  val EER 50.000%  learning rate 3e-05  1,000 samples/s  0:01 left", (12, 0.5)),
        ("train: epoch   1/12  loss nan  val EER    nan%  zero-loss", None),
        ("train: epoch   1/12  step 3/90  loss 0.2  1,000 samples/s  0:01 left", None),
        ("train: kept epoch 2: val EER 5.714%", None),
    ],
)
def test_epochs_are_read_from_what_the_stage_says(line: str, seen: tuple[int, float] | None) -> None:
    assert trial.epoch_in(line) == (seen if seen is None else pytest.approx(seen))


def test_the_command_of_an_experiment() -> None:
    words = trial.command("sweep-1-2", {"margin": None, "encoder_options.width": 64, "learning_rate": 1e-05})
    assert words[-2:] == ["--single-item", "train"]
    assert [word for word in words if word.startswith("++")] == [
        "++train.margin=null",
        "++train.encoder_options.width=64",
        "++train.learning_rate=1e-05",
    ]
    assert "train with margin null, encoder_options.width 64, learning_rate 1e-05" in words
    assert not re.search("evaluate|register", " ".join(words))
