"""docs/extending.md says what is true: its examples are pasted, checked and trained with; what it names exists."""

from __future__ import annotations

import doctest
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from likewise import distances
from likewise.config import STAGES
from likewise.data.batches import Media
from likewise.evaluation.verification import roc_all_pairs
from likewise.learning import encoders, losses
from likewise.learning.feeds import ClassFeed
from likewise.learning.training import Fit, Settings, Step
from tests.imports import ROOT, reached

TEXT = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
EXAMPLES = dict(
    re.findall(r"^`([\w/]+\.py)`[^`\n]*(?:`\w+`)?:\n\n```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
)
LOSS, ORACLE, ENCODER, DISTANCE = (
    "src/likewise/learning/nca.py",
    "tests/learning/test_nca.py",
    "src/likewise/learning/bag.py",
    "src/likewise/distances.py",
)
CLASSES, EACH = 3, 4
LABELS = np.repeat(np.arange(CLASSES), EACH)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pasted(file: str, folder: Path, patch: pytest.MonkeyPatch) -> ModuleType:
    """Put an example where it belongs, as far as imports can tell, until the test ends."""
    path = folder / Path(file).name
    path.write_text(EXAMPLES[file], encoding="utf-8")
    name = file.removeprefix("src/").removesuffix(".py").replace("/", ".")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    patch.setitem(sys.modules, name, module)
    if file == DISTANCE:
        vars(module).update({key: value for key, value in vars(distances).items() if not key.startswith("__")})
    spec.loader.exec_module(module)
    return module


def two_steps(*, loss: str = "contrastive", encoder: str = "mlp", distance: str | None = None) -> list[float]:
    draw = np.random.Generator(np.random.Philox(0))
    media = Media(draw.integers(0, 256, (len(LABELS), 1, 12, 10), dtype=np.uint8), device=torch.device("cpu"))
    off: dict[str, Any] = {
        "weight_decay": 0.0,
        "keep": "best",
        "patience": 0,
        "clip": 0.0,
        "precision": "fp32",
        "seed": 0,
    }
    fit = Fit(
        encoders.build(encoder, media.shape, 4),
        losses.build(loss, classes=CLASSES, embedding=4, distance=distance),
        ClassFeed(np.arange(len(LABELS)), LABELS, classes_per_batch=CLASSES, samples_per_class=EACH, seed=0),
        media,
        validate=lambda _: 0.5,
        settings=Settings(epochs=2, optimizer="adam", learning_rate=0.001, schedule="constant", **off),
    )
    before = {name: value.clone() for name, value in fit.encoder.state_dict().items()}
    steps = [record for record in fit.run() if isinstance(record, Step)]
    after = fit.encoder.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name, _ in fit.encoder.named_parameters())
    return [step.loss.item() for step in steps]


def learns(found: list[float]) -> bool:
    return len(found) == 2 and 0 < found[1] < found[0] < float("inf")


def test_the_page_holds_the_four_examples() -> None:
    assert set(EXAMPLES) == {LOSS, ORACLE, ENCODER, DISTANCE}
    assert TEXT.count("```python") == len(EXAMPLES)


def test_the_loss_trains_and_equals_its_oracle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = pasted(LOSS, tmp_path, monkeypatch)
    assert doctest.testmod(module) == (0, 2)
    monkeypatch.setitem(losses.LOSSES, "nca", module.NCALoss)
    assert learns(two_steps(loss="nca"))
    oracle = pasted(ORACLE, tmp_path, monkeypatch)
    oracle.test_it_equals_a_loop()


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [2]])
def test_the_loss_has_nothing_to_learn_from_poor_batches(
    labels: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    result = pasted(LOSS, tmp_path, monkeypatch).NCALoss().measure(x, torch.tensor(labels))
    result.loss.backward()
    assert (result.loss.item(), result.candidates.item()) == (0, 0)
    assert x.grad is not None
    assert not x.grad.any()


def test_the_encoder_trains_and_refuses_what_it_cannot_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(encoders.ENCODERS, "bag", pasted(ENCODER, tmp_path, monkeypatch).Bag)
    assert learns(two_steps(encoder="bag"))
    again = encoders.from_description(encoders.build("bag", (3, 9, 9), 2, patch=4).describe())
    assert again(torch.zeros(5, 3, 9, 9, dtype=torch.uint8)).shape == (5, 2)
    with pytest.raises(ValueError, match="bag: patch is 8, but must be a whole number from 1 to 6"):
        encoders.build("bag", (1, 28, 6), 2)
    with pytest.raises(ValueError, match="bag needs images"):
        encoders.build("bag", (1, 28), 2)


def test_the_distance_trains_and_is_judged_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = pasted(DISTANCE, tmp_path, monkeypatch)
    (examples,) = doctest.DocTestFinder(recurse=False).find(module.Chebyshev, "Chebyshev", module)
    assert doctest.DocTestRunner().run(examples) == (0, 1)
    monkeypatch.setitem(distances.DISTANCES, "chebyshev", module.Chebyshev)
    monkeypatch.setattr(losses.Loss, "distance_names", (*losses.Loss.distance_names, "chebyshev"))
    assert learns(two_steps(distance="chebyshev"))
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.tensor([[max(abs(a - b) for a, b in zip(i, j, strict=True)) for j in x] for i in x])
    chebyshev = distances.build("chebyshev")
    torch.testing.assert_close(chebyshev.pairwise(x), expected.double())
    torch.testing.assert_close(chebyshev.paired(x[1:], x[:-1]), expected.double().diagonal(-1))
    assert chebyshev.pairwise(torch.tensor([[torch.nan, 1.0], [0.0, 2.0]])).isnan().tolist() == [
        [True, True],
        [True, False],
    ]
    assert roc_all_pairs(x.numpy(), [0, 0, 0, 1, 1, 1, 1], distance="chebyshev").genuine == 9


@pytest.mark.parametrize("file", [LOSS, ORACLE, ENCODER])
def test_the_examples_keep_the_style(file: str) -> None:
    # The file that a test imports is not there, which ruff would take for somebody else's package.
    ours = ["--config", "lint.isort.known-first-party = ['likewise']"]
    for command in (["check", *ours], ["format", "--diff"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", "--stdin-filename", file, "-"],
            input=EXAMPLES[file],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", ["loss", "encoder", "distance"])
def test_stages_that_a_new_file_makes_stale_are_those_that_reach_its_dict(kind: str) -> None:
    (row,) = re.findall(rf"^\| {kind} \|.* in `src/(\S+)\.py` \| ([\w, ]+) \|$", TEXT, re.MULTILINE)
    module, stages = row[0].replace("/", "."), row[1].split(", ")
    if kind == "distance":
        assert stages == ["none"]
    else:
        assert stages == [stage for stage in STAGES if module in reached(f"likewise.stages.{stage}")]


@pytest.mark.parametrize("file", sorted(set(re.findall(r"`((?:src|tests)/[\w/]+\.py)(?:::\w+)?`", TEXT))))
def test_files_and_tests_that_it_names_exist(file: str) -> None:
    if file in (LOSS, ORACLE, ENCODER):
        assert not (ROOT / file).exists()
        return
    text = (ROOT / file).read_text(encoding="utf-8")
    for test in re.findall(rf"`{re.escape(file)}::(\w+)`", TEXT):
        assert f"def {test}(" in text
