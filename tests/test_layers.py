"""Imports point down only, in no circle; and `dvc.yaml` names the code that each stage runs."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

import pytest

from likewise.config import STAGES, read_yaml
from tests.imports import ROOT, SOURCE, direct, modules, reached

GROUND = {"config", "artifacts", "runtime", "distances", "files", "choices"}
MAY_IMPORT = {
    "tuples": set[str](),
    "data": GROUND,
    "evaluation": GROUND,
    "learning": GROUND | {"data", "evaluation", "tuples"},
    "delivery": GROUND | {"learning", "data", "evaluation"},
    "stages": GROUND | {"delivery", "learning", "data", "evaluation", "tuples"},
    "commands": GROUND | {"stages", "delivery", "learning", "data", "evaluation", "tuples"},
    "cli": GROUND | {"commands", "stages", "delivery", "learning", "data", "evaluation", "tuples"},
    "": {"delivery"},
    **{room: {"choices"} for room in GROUND - {"artifacts"}},
    "artifacts": {"files", "choices"},
}
WITHOUT_TORCH = ("ingest", "pairs", "triplets", "register")


def wing(module: str) -> str:
    return [*module.split("."), ""][1]


@pytest.mark.parametrize("module", modules())
def test_imports_point_down_only(module: str) -> None:
    known = modules()
    allowed = MAY_IMPORT[wing(module)] | {wing(module)}
    upward = {name for name in direct(known[module], known) if wing(name) not in allowed and name != "likewise"}
    assert not upward


def test_no_circles() -> None:
    known = modules()
    graph = {name: direct(path, known) - {"likewise"} for name, path in known.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")
    assert len(order) == len(known)


def test_packages_hold_no_logic() -> None:
    files = [p for p in (SOURCE / "likewise").rglob("__init__.py") if p.parent.name != "likewise"]
    assert files
    assert not [str(p) for p in files if p.read_text(encoding="utf-8").strip()]


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_deps_are_the_code_a_stage_runs(stage: str) -> None:
    known = modules()
    code = {
        known[name].relative_to(ROOT).as_posix()
        for name in reached(f"likewise.stages.{stage}")
        if known[name].name != "__init__.py"
    }
    listed = read_yaml(ROOT / "dvc.yaml")["stages"][stage]["deps"]
    assert {name for name in listed if name.endswith(".py")} - {PYFUNC} == code - {PYFUNC}


# Run by path inside the delivered model, so no import statement names it.
PYFUNC = "src/likewise/delivery/pyfunc.py"


def test_templates_are_dependencies() -> None:
    stages = read_yaml(ROOT / "dvc.yaml")["stages"]
    templates = {p.relative_to(ROOT).as_posix() for p in SOURCE.rglob("*.md")} | {
        p.relative_to(ROOT).as_posix() for p in SOURCE.rglob("*.html")
    }
    listed = {name for stage in stages.values() for name in stage["deps"]}
    assert templates
    assert templates <= listed
    assert PYFUNC in stages["register"]["deps"]


@pytest.mark.parametrize("stage", WITHOUT_TORCH)
def test_light_stages_import_no_heavy_library_at_the_top(stage: str) -> None:
    import subprocess
    import sys

    heavy = ("torch", "mlflow", "sklearn", "scipy", "matplotlib", "faiss", "prefect")
    code = f"import sys, likewise.stages.{stage}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_imports_dvc() -> None:
    for path in modules().values():
        text = path.read_text(encoding="utf-8")
        assert "import dvc" not in text
        assert "from dvc" not in text
