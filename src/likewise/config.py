"""Typed, strict parameters: one block of `params.yaml` per stage, and the project's root."""

from __future__ import annotations

import difflib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeGuard, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

STAGES = ("ingest", "pairs", "triplets", "train", "evaluate", "export", "register")
"""Every stage, in the order in which the data walks."""

SWEEP = "sweep"
"""The block that no stage reads: what a sweep tries."""

BLOCKS = (*STAGES, SWEEP)
"""Every block of params.yaml."""

PARAMS_FILE = "params.yaml"


class Block(BaseModel):
    """The params of one stage, or a group of them: unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


BlockT = TypeVar("BlockT", bound=Block)


class ConfigError(ValueError):
    """What is wrong with the project's params or its place: one line for each mistake."""


def project_root(start: Path | None = None) -> Path:
    """Return the nearest folder at or above `start` (default: here) that holds a `dvc.yaml`.

    Raises:
        ConfigError: when there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise ConfigError(f"{start}: no dvc.yaml here or above; run this inside a Likewise project")


def main_checkout(root: Path) -> Path:
    """Return the checkout that owns the local stores: an experiment's temporary copy uses its parent's."""
    parts = root.parts
    for index in range(len(parts) - 2):
        if parts[index : index + 3] == (".dvc", "tmp", "exps"):
            return Path(*parts[:index])
    return root


def cache_folder() -> Path:
    """Return this user's cache folder for Likewise."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "likewise"


def in_experiment() -> bool:
    """Tell whether this process runs inside a DVC experiment, whose models are not for the registry."""
    return bool(os.environ.get("DVC_EXP_NAME"))


def read_yaml(path: Path) -> Any:
    """Read a YAML 1.2 file, as DVC does (`1e-3` is a number, `no` is a word).

    Raises:
        ConfigError: when the file is missing, is not UTF-8 or is not YAML; names the line.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path.name}: no such file in {path.parent}; recipes/ has complete ones") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path.name}: byte {error.start} is not UTF-8") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path.name}:{place} {error.problem}") from None


def load_params(root: Path) -> dict[str, Block]:
    """Read and check the whole of `params.yaml`: the name of each block to what it holds, typed.

    Raises:
        ConfigError: one line per mistake, each with the key, what was given and what is allowed.
    """
    return checked(read_yaml(root / PARAMS_FILE))


def checked(raw: Any) -> dict[str, Block]:
    """Check what a params file holds: the name of each block to what it holds, typed.

    Raises:
        ConfigError: as `load_params`.
    """
    if not isinstance(raw, dict):
        raise ConfigError(f"{PARAMS_FILE}: expected the blocks {', '.join(BLOCKS)}")
    mistakes = [_unknown_key(str(name), BLOCKS) for name in raw if name not in BLOCKS]
    blocks: dict[str, Block] = {}
    for name in BLOCKS:
        if name not in raw:
            mistakes.append(f"{PARAMS_FILE}: {name}: the block is missing; recipes/ has complete files")
            continue
        try:
            blocks[name] = params_model(name).model_validate(raw[name])
        except ValidationError as error:
            mistakes += [_explain(name, detail) for detail in error.errors()]
    mistakes = mistakes or _disagreements(blocks)
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return blocks


def _disagreements(blocks: Mapping[str, Any]) -> list[str]:
    """Say what one block asks for and another rules out."""
    feed = blocks["train"].feed
    if blocks["ingest"].source == "pairs" and feed != "pairs":
        return [
            f"{PARAMS_FILE}: train.feed: {feed} needs classes, and ingest.source: pairs has none; set feed: pairs, and "
            "a loss that takes pairs"
        ]
    mistakes: list[str] = blocks[SWEEP].mistakes(blocks["train"].model_dump())
    return mistakes


def params_model(block: str) -> type[Block]:
    """Return the params model of a block, which lives in the stage's own module.

    It is imported by name, here only: a stage that checks the whole file does not depend on the others' code.
    """
    module = "sweep_params" if block == SWEEP else block
    model: type[Block] = import_module(f"likewise.stages.{module}").Params
    return model


def run_stage(name: str, model: type[BlockT], run: Callable[[BlockT, Path], None]) -> None:
    """Run a stage as a process: check the params, call `run(params, root)`, exit 2 with one line on bad input."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wait_passively()
    try:
        root = project_root()
        params = load_params(root)[name]
        # Run as `__main__`, the stage's own Params class is a second copy of the one that checked the file.
        run(model.model_validate(params.model_dump()), root)
    except KeyboardInterrupt:
        # One of several processes is silent: the one that started them says it.
        if "LOCAL_RANK" in os.environ:
            sys.exit(130)
        sys.exit(_last_line(name, "interrupted; run the same command again to go on", 130))
    except (ValueError, OSError, MemoryError) as error:
        if os.environ.get("LIKEWISE_TRACEBACK"):
            traceback.print_exc()
        sys.exit(_last_line(name, _said(error), 2))


@contextmanager
def named(key: str) -> Iterator[None]:
    """Put a key of params.yaml before what is wrong with it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def wait_passively() -> None:
    """Let PyTorch's threads sleep while they wait for each other; to be called before PyTorch is imported.

    By default they spin, which on a machine that others use too made training 10 to 25 times slower (docs/log.md).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word most like `word`, if any is like it at all."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def legible(text: str) -> str:
    r"""Return a line with what does not print escaped: a file's name cannot break it, nor steer the terminal.

    >>> legible("é/a\nb\x1b[2J.png")
    'é/a\\nb\\x1b[2J.png'
    """
    return "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in text)


def _said(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"out of memory: {legible(str(error)) or 'stop what else runs here, or use a smaller input'}"
    # Only mistakes in the params are several lines.
    return str(error) if isinstance(error, ConfigError) else legible(str(error))


def _last_line(name: str, message: str, code: int) -> int:
    print(f"{name}: {message}", file=sys.stderr, flush=True)
    return code


def _unknown_key(key: str, known: Iterable[str], prefix: str = "") -> str:
    known = list(known)
    close = nearest(key, known)
    hint = f"did you mean {prefix}{close}? " if close else ""
    return f"{PARAMS_FILE}: {prefix}{key}: unknown key; {hint}known: {', '.join(known)}"


def _explain(block: str, detail: ErrorDetails) -> str:
    location = [str(part) for part in detail["loc"]]
    key = ".".join([block, *location])
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        prefix = ".".join([block, *location[:-1]]) + "."
        return _unknown_key(location[-1], _known_keys(params_model(block), location[:-1]), prefix)
    if kind == "missing":
        return f"{PARAMS_FILE}: {key}: the key is missing; recipes/ has complete files"
    if kind == "value_error":
        return f"{PARAMS_FILE}: {key}: {context['error']}"
    given = f"given {_show(detail['input'])}"
    if kind == "literal_error":
        return f"{PARAMS_FILE}: {key}: {given}; {_allowed(detail['input'], context)}"
    wanted = detail["msg"].removeprefix("Input should be ").removeprefix("a valid ")
    return f"{PARAMS_FILE}: {key}: {given}; allowed: {wanted}"


def _allowed(given: object, context: Mapping[str, Any]) -> str:
    expected = str(context["expected"])
    words = expected.replace(" or ", ", ").replace("'", "").split(", ")
    close = nearest(str(given), words)
    return f"allowed: {', '.join(words)}" + (f"; nearest: {close}" if close else "")


def _known_keys(model: type[BaseModel], path: list[str]) -> list[str]:
    parts = iter(path)
    for part in parts:
        annotation = model.model_fields[part].annotation
        if get_origin(annotation) is dict:
            # Blocks by a name of the user's, which is the next part.
            next(parts, None)
        # A block that may be null is a union.
        blocks = [each for each in (annotation, *get_args(annotation)) if _is_model(each)]
        if not blocks:
            return []
        model = blocks[0]
    return list(model.model_fields)


def _is_model(annotation: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _show(value: object) -> str:
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, dict):
        return "a block"
    return "nothing" if value is None else repr(value)
