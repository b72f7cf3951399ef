"""Settings written into the text of params.yaml: its comments and its layout stay."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from likewise.config import PARAMS_FILE, nearest

WORD = re.compile(r"[A-Za-z_][\w.-]*")
NO_WORDS = {"null", "true", "false", "yes", "no", "on", "off"}
INLINE = re.compile(r"\{[^{}\[\]]*\}|\[[^{}\[\]]*\]|\"[^\"]*\"|'[^']*'|[^\s,{}\[\]#]+")
"""A value on one line: a block in braces, a list, a text in quotes, a number or a word."""


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings under dotted keys as nested blocks.

    Example:
        >>> nested({"train.margin": 0.3, "train.augment.image.flip": 0.5})
        {'train': {'margin': 0.3, 'augment': {'image': {'flip': 0.5}}}}
    """
    whole: dict[str, Any] = {}
    for key, value in settings.items():
        *blocks, last = key.split(".")
        inner = whole
        for name in blocks:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return whole


def written(text: str, settings: Mapping[str, Any]) -> str:
    """Return the text of a params file with some of its values replaced, and nothing else.

    Args:
        text: of the params file.
        settings: by dotted key from the top, as `train.margin`.

    Raises:
        ValueError: when a key is not in the file, or what it holds there is not on one line.
    """
    whole = YAML().load(text)
    for key, value in settings.items():
        text, whole = _with(text, whole, key, value)
    return text


def shown(value: Any) -> str:
    """Return a value as YAML on one line.

    Example:
        >>> shown(None), shown(0.003), shown("all"), shown("a: b"), shown({"width": 64})
        ('null', '0.003', 'all', '"a: b"', '{width: 64}')
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {shown(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, str) and WORD.fullmatch(value) and value.lower() not in NO_WORDS:
        return value
    return json.dumps(value)


def _with(text: str, whole: Any, key: str, value: Any) -> tuple[str, Any]:
    """Return the text with one value replaced, and what it holds then; `whole` is what it holds now."""
    before, name = _block(whole, key)
    if name not in before:
        # A block in braces takes another key: encoder_options.
        if before.fa.flow_style() is False:
            close = nearest(name, before)
            hint = f"; did you mean {close}?" if close else ""
            raise ValueError(f"{PARAMS_FILE}: {key}: there is no such key{hint}")
        return _with(text, whole, key.rpartition(".")[0], {**before, name: value})
    row, column = before.lc.value(name)
    lines = text.splitlines(keepends=True)
    lines[row] = lines[row][:column] + _replaced(lines[row][column:], shown(value), key)
    changed = "".join(lines)
    try:
        found = YAML().load(changed)
        after, _ = _block(found, key)
    except (MarkedYAMLError, ValueError):
        after = {}
    if after.get(name, ...) != value or {**after, name: None} != {**before, name: None}:
        raise ValueError(f"{PARAMS_FILE}: {key}: its value is not on one line; set it to {shown(value)} by hand")
    return changed, found


def _block(whole: Any, key: str) -> tuple[Any, str]:
    """Return the block that holds a key, and the key's own name."""
    *blocks, last = key.split(".")
    for name in blocks:
        whole = whole.get(name) if isinstance(whole, Mapping) else None
    if not isinstance(whole, Mapping):
        raise ValueError(f"{PARAMS_FILE}: {key}: there is no block {'.'.join(blocks) or '(the whole file)'}")
    return whole, last


def _replaced(rest: str, new: str, key: str) -> str:
    """Replace the value that a line's rest begins with; a comment behind it stays where it is, if there is room."""
    found = INLINE.match(rest)
    if found is None:
        raise ValueError(f"{PARAMS_FILE}: {key}: its value is not on one line; set it to {new} by hand")
    behind = rest[found.end() :]
    if behind.lstrip(" ").startswith("#"):
        gap = len(behind) - len(behind.lstrip(" "))
        behind = " " * max(1, found.end() + gap - len(new)) + behind.lstrip(" ")
    return new + behind
