"""What a flow is given on the command line: `python -m flows.embed path=faces/new shards=2`."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from prefect import Flow
from prefect.exceptions import ParameterTypeError

from flows import servers, stages, temporary
from likewise.choices import one_of
from likewise.config import ConfigError, load_params, project_root

INTERRUPTED = 130
"""What a shell says of a program that Ctrl-C ended."""


def call(flow: Flow[..., Any], words: Sequence[str] | None = None) -> None:
    """Run a flow with what the command line gives it; what is wrong there is one line, and the code 2.

    Args:
        flow: the flow.
        words: `name=value` for each parameter; by default the command line's.
    """
    try:
        given = parsed(flow.fn, sys.argv[1:] if words is None else words)
        with _silent("prefect.flows"):
            flow.validate_parameters(given | _defaults(flow.fn, given))
        # Before there is a server, which takes longer to start than to see what is wrong.
        root = project_root()
        load_params(root)
    except (ValueError, ParameterTypeError) as error:
        said = str(error) if isinstance(error, ConfigError) else _one_line(error)
        print(f"{flow.name}: {said}", file=sys.stderr)
        sys.exit(2)
    try:
        with temporary.server(root):
            state: Any = flow(**given, return_state=True)
    except KeyboardInterrupt:
        print(f"\n{flow.name}: stopped", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except servers.ServerError as error:
        sys.exit(f"{flow.name}: {error}")
    if not state.is_completed():
        sys.exit(f"{flow.name}: {stages.WRAPPED.sub('', str(state.message))}")


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Keep a logger from saying in its own way what is about to be said in a line."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def parsed(function: Callable[..., Any], words: Sequence[str]) -> dict[str, str]:
    """Return the parameters that the words name.

    Raises:
        ValueError: a word that is no `name=value`, or names no parameter; lists them.

    Example:
        >>> def embed(path: str, shards: int) -> None: ...
        >>> parsed(embed, ["path=new", "shards=2"])
        {'path': 'new', 'shards': '2'}
    """
    known = inspect.signature(function).parameters
    given = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise ValueError(f"given {word!r}; each parameter is name=value: {', '.join(known)}")
        given[one_of("parameter", name, known)] = value
    return given


def _defaults(function: Callable[..., Any], given: dict[str, str]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.name not in given}


def _one_line(error: Exception) -> str:
    """Return what Prefect and pydantic say on many lines on one."""
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and "errors.pydantic.dev" not in line]
    return " ".join(kept).removeprefix("Flow run received invalid parameters: ").lstrip("- ")
