from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from likewise import config

ROOT = Path(__file__).parents[1]
DEFAULT = (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Callable[[str], Path]:
    def make(params: str) -> Path:
        (tmp_path / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
        (tmp_path / "params.yaml").write_text(params, encoding="utf-8")
        return tmp_path

    return make


@pytest.mark.parametrize(
    "file", ["params.yaml", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("recipes/*.yaml"))]
)
def test_every_params_file_is_valid(file: str, project: Callable[[str], Path]) -> None:
    blocks = config.load_params(project((ROOT / file).read_text(encoding="utf-8")))
    assert tuple(blocks) == config.BLOCKS


@pytest.mark.parametrize(
    "file", ["params.yaml", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("recipes/*.yaml"))]
)
def test_every_key_is_commented(file: str) -> None:
    keys = [
        line
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines()
        if line.startswith(" ") and ":" in line.split("#")[0] and not line.rstrip().endswith(":")
    ]
    assert keys
    assert not [line for line in keys if "#" not in line]


def test_the_digits_recipe_is_the_default() -> None:
    recipe = (ROOT / "recipes/digits.yaml").read_text(encoding="utf-8")
    assert recipe.partition("\ningest:")[2] == DEFAULT.partition("\ningest:")[2]


MISTAKES = {
    "a feed without what it needs": (
        ("  source: digits", "  source: pairs"),
        ["train.feed: classes needs classes, and ingest.source: pairs has none; set feed: pairs, and a loss that"],
    ),
    "unknown key": (
        ("  loss: triplet", "  los: triplet"),
        ["train.los: unknown key; did you mean train.loss? known: feed, encoder", "train.loss: the key is missing"],
    ),
    "out of range": (
        ("  margin: 0.2", "  margin: -1"),
        ["train.margin: given -1; allowed: greater than or equal to 0"],
    ),
    "text for a number": (
        ("  epochs: 12", '  epochs: "12"'),
        ["train.epochs: given the text '12'; allowed: integer"],
    ),
    "unknown name": (
        ("  loss: triplet", "  loss: tripplet"),
        ["train.loss: given the text 'tripplet'; allowed: ", "nearest: triplet"],
    ),
    "misspelt block": (
        ("\ntrain:", "\ntrian:"),
        ["params.yaml: trian: unknown key; did you mean train? known: ingest, pairs", "train: the block is missing"],
    ),
    "nested key": (
        ("    fold: 0", "    folt: 0"),
        ["ingest.split.folt: unknown key; did you mean ingest.split.fold?", "ingest.split.fold: the key is missing"],
    ),
    "nothing": (("  path: data/raw", "  path:"), ["ingest.path: given nothing; allowed: string"]),
    "true for a number": (("  epochs: 12", "  epochs: true"), ["train.epochs: given True; allowed: integer"]),
    "shares": (("    test: 0.25", "    test: 0.9"), ["ingest.split: val 0.15 and test 0.9 leave nothing to train on"]),
    "block as a value": (
        ("\nexport:\n", "\nexport: 3\nother:\n"),
        ["export: given 3; allowed: ", "other: unknown key"],
    ),
    "broken YAML": (("\ntrain:", "\ntrain: ["), ["params.yaml: line "]),
    "key twice": (
        ("  epochs: 12", "  epochs: 12\n  epochs: 13"),
        ["params.yaml: line ", 'found duplicate key "epochs"'],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_in_a_line(name: str, project: Callable[[str], Path]) -> None:
    (old, new), wanted = MISTAKES[name]
    assert old in DEFAULT
    with pytest.raises(config.ConfigError) as caught:
        config.load_params(project(DEFAULT.replace(old, new, 1)))
    for text in wanted:
        assert text in str(caught.value)


def test_numbers_are_read_as_dvc_reads_them(project: Callable[[str], Path]) -> None:
    blocks = config.load_params(project(DEFAULT.replace("learning_rate: 0.003", "learning_rate: 3e-3")))
    assert blocks["train"].model_dump()["learning_rate"] == 0.003


def test_check_exits_2_with_one_line_a_mistake(project: Callable[[str], Path]) -> None:
    root = project(DEFAULT.replace("  margin: 0.2", "  margin: -1").replace("  loss: triplet", "  loss: x"))
    done = _likewise(root, "check")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 2
    assert "Traceback" not in done.stderr
    assert _likewise(project(DEFAULT), "check").returncode == 0


def test_outside_a_project_is_said(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"no dvc\.yaml here or above"):
        config.project_root(tmp_path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"params.yaml: no such file in .*recipes/"):
        config.load_params(tmp_path)


def test_root_is_found_from_any_folder_below(project: Callable[[str], Path]) -> None:
    root = project(DEFAULT)
    below = root / "a" / "b"
    below.mkdir(parents=True)
    assert config.project_root(below) == root.resolve()


def test_an_experiments_copy_uses_the_main_checkout() -> None:
    assert config.main_checkout(Path("/p/.dvc/tmp/exps/tmpabc")) == Path("/p")
    assert config.main_checkout(Path("/p/q")) == Path("/p/q")


def _likewise(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "likewise.cli", *words], cwd=folder, env=dict(os.environ), capture_output=True, text=True
    )
