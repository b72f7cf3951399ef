"""Which of the project's modules a module imports, read from the source: at any depth of its functions."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"


def modules() -> dict[str, Path]:
    """Return every module of the package that holds code, by its dotted name."""
    files = sorted((SOURCE / "likewise").rglob("*.py"))
    return {dotted(file): file for file in files}


def dotted(file: Path) -> str:
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def direct(file: Path, known: dict[str, Path], *, typing: bool = True) -> set[str]:
    """Return the project's modules that a file names in its import statements."""
    found: set[str] = set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    skipped = set() if typing else {id(n) for block in _typing_blocks(tree) for n in ast.walk(block)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name in known and name != dotted(file)}


def reached(name: str) -> set[str]:
    """Return every module of the project that `name` imports when it runs, directly or through others.

    The package itself is left out: it imports nothing until its one name is asked for, which no stage does.
    """
    known, seen, waiting = modules(), {"likewise"}, [name]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += direct(known[module], known, typing=False)
    return seen - {"likewise"}


def _typing_blocks(tree: ast.AST) -> list[ast.If]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    ]
