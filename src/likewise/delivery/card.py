"""The model card: what a person reads on the version's page in the registry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from likewise import artifacts
from likewise.config import PARAMS_FILE, legible, read_yaml
from likewise.evaluation.intervals import share_interval

if TYPE_CHECKING:
    import pandas as pd

MODEL = """\
Tells whether two samples are of the same class: a Siamese encoder with its distance, threshold and calibration.

`champion` is the version in use, `challenger` the newest one that wants its place.
"""

PAGE = 5000
"""How many characters of Markdown a version's page may have: on PostgreSQL MLflow's column holds no more."""
ROOM = PAGE - 1000
"""How many the card may have: the decisions are written below it."""
GAP = "&ensp;"
"""What ends the widest cell of a column: MLflow's page draws columns without any space between them."""
LISTED = (5, 3, 2, 1, 0)
"""How many of the hardest errors and of the slices are listed, fewer where there is no room."""
MOST = 50
"""How many the whole card lists."""
ENDINGS = {"image": "png", "audio": "wav", "sequence": "csv", "text": "txt"}


def render(root: Path, *, room: int | None = ROOM) -> str:
    """Return the card of the evaluated model, in Markdown.

    Where it would be too long for the version's page, fewer of the hardest errors and of the slices are listed; the
    version's file `card.md` has more of them.

    Args:
        root: the project's root.
        room: how many characters it may have; None: as many as it takes.

    Raises:
        ArtifactError: when a stage's file is missing.
    """
    environment = Environment(
        loader=PackageLoader("likewise.delivery", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters |= {
        "percent": percent,
        "with_interval": with_interval,
        "value_and_interval": value_and_interval,
        "code": code,
    }
    template, facts = environment.get_template("card.md"), _facts(root)
    for few in LISTED if room else (MOST,):
        text = template.render(**facts | {name: _first(facts[name], few) for name in ("errors", "slices")})
        if room is None:
            return text
        text = spaced(text)
        if len(text) <= room:
            return text
    return cut(text, room or 0)


def spaced(text: str) -> str:
    r"""Return a text whose tables have space between their columns on MLflow's page.

    Example:
        >>> spaced("a | b\n| c | d |\n|---|---|\n| cc | d |\n")
        'a | b\n| c | d |\n|---|---|\n| cc&ensp; | d |\n'
    """
    return re.sub(r"(?:^\|.*\n)+", lambda table: _spaced(table[0]), text, flags=re.MULTILINE)


def _spaced(table: str) -> str:
    rows = [line.split(" | ") for line in table.splitlines()]
    for column in range(len(rows[0]) - 1):
        widest = max((row for row in rows if len(row) > column + 1), key=lambda row: len(row[column]))
        widest[column] += GAP
    return "".join(" | ".join(row) + "\n" for row in rows)


def cut(text: str, room: int) -> str:
    r"""Return as many whole lines as there is room for, and say that there were more.

    Example:
        >>> cut("one\ntwo\nthree\n", 12), cut("one\n", 12)
        ('one\n\n(cut)\n', 'one\n')
    """
    if len(text) <= room:
        return text
    end = "\n(cut)\n"
    return text[: text.rfind("\n", 0, room - len(end)) + 1] + end


def percent(value: float | None) -> str:
    """Return a share in per cent.

    Example:
        >>> percent(0.0042), percent(None)
        ('0.42%', 'not measurable')
    """
    return "not measurable" if value is None else f"{value:.2%}"


def code(text: str) -> str:
    """Return what a user named as code, which stays in its cell and in its line.

    Example:
        >>> code("a|b`c")
        "`a/b'c`"
    """
    return f"`{legible(text).replace('|', '/').replace('`', chr(39))}`"


def with_interval(values: Mapping[str, Any], name: str) -> str:
    """Return a figure of metrics.json with the ends of its interval, where it has them.

    Example:
        >>> with_interval({"eer": 0.05, "eer_low": 0.04, "eer_high": 0.061}, "eer")
        '5.00% (4.00% to 6.10%)'
    """
    low, high = values[f"{name}_low"], values[f"{name}_high"]
    return percent(values[name]) + ("" if low is None else f" ({percent(low)} to {percent(high)})")


def value_and_interval(values: Mapping[str, Any], name: str) -> str:
    """Return two cells of a table: a figure of metrics.json, and its interval.

    Example:
        >>> value_and_interval({"eer": 0.05, "eer_low": 0.04, "eer_high": 0.061}, "eer")
        '5.00% | 4.00% to 6.10%'
    """
    low, high = values[f"{name}_low"], values[f"{name}_high"]
    return f"{percent(values[name])} | {'' if low is None else f'{percent(low)} to {percent(high)}'}"


def numbered(values: Mapping[str, Any], pattern: str) -> dict[str, str]:
    r"""Return the keys that a pattern matches with the number in each, in the order of the numbers.

    Example:
        >>> numbered({"tar_at_far_1_percent": 0, "tar_at_far_0_1_percent": 0}, r"tar_at_far_(\w+)_percent")
        {'tar_at_far_0_1_percent': '0.1', 'tar_at_far_1_percent': '1'}
    """
    found = {key: match[1].replace("_", ".") for key in values if (match := re.fullmatch(pattern, key))}
    return dict(sorted(found.items(), key=lambda item: float(item[1])))


def _facts(root: Path) -> dict[str, Any]:
    metrics, calibration = artifacts.METRICS.read(root), artifacts.CALIBRATION.read(root)
    samples, summary = artifacts.SAMPLES.read(root), artifacts.SUMMARY.read(root)
    portable = artifacts.ABOUT_PORTABLE.read(root)
    preprocessing = {k: v for k, v in summary["preprocessing"].items() if k != "kind" and v is not None}
    return {
        "metrics": metrics,
        "verification": metrics["verification"],
        "rates": numbered(metrics["verification"], r"tar_at_far_(\w+)_percent"),
        "cutoffs": numbered(metrics["retrieval"], r"recall_at_(\d+)"),
        "calibration": calibration,
        "probabilities": _probabilities(metrics["calibration"]),
        "thresholds": _thresholds(calibration["thresholds"]),
        "model": artifacts.MODEL.read(root),
        "training": artifacts.TRAIN.read(root),
        "summary": summary,
        "things": f"{summary['kind']}s",
        "ending": ENDINGS[summary["kind"]],
        "prepared": ", ".join(f"{name} {value}" for name, value in preprocessing.items()),
        "splits": [_split(samples, name) for name in artifacts.SPLITS],
        "limits": _limits(samples, metrics),
        "slices": [_slice(column, found) for column, found in metrics.get("slices", {}).items()],
        "errors": _errors(root),
        "index": artifacts.ABOUT_INDEX.read(root),
        "portable": portable,
        "encoders": _encoders(portable["encoders"]),
        "params": read_yaml(root / PARAMS_FILE),
    }


def _encoders(told: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what is told of each ONNX encoder, the exact one first; of one that could not be made, why."""
    parts = []
    for name, found in sorted(told.items(), key=lambda item: (item[0] != "fp32", item[0])):
        made = "refused" not in found
        parts.append(
            f"{name} {found['eer']:.3%} ({found['bytes'] / 1e6:.2f} MB)" if made else f"no {name} ({found['refused']})"
        )
    return ", ".join(parts)


def _first(found: Any, few: int) -> Any:
    """Return the first few rows: of a list, or of each list in a dict."""
    if isinstance(found, dict):
        return {name: rows[:few] for name, rows in found.items() if rows[:few]}
    return found[:few]


def _probabilities(section: Mapping[str, Any]) -> dict[str, float]:
    method = section["delivered"]
    return {"least": section["min_cllr"], **{name: section[f"{method}_{name}"] for name in ("ece", "brier", "cllr")}}


def _thresholds(chosen: Mapping[str, Mapping[str, Any] | None]) -> list[dict[str, str]]:
    """Return a row for each rule: its name, score and interval, and the error rates that it had where it was chosen."""
    return [{"rule": _rule(name), **_threshold(chosen[name])} for name in sorted(chosen, key=_place)]


def _threshold(found: Mapping[str, Any] | None) -> dict[str, str]:
    if found is None:
        return {"score": "too few trials to tell", "far": "", "frr": ""}
    ends = "" if found["low"] is None else f" ({found['low']:.4f} to {found['high']:.4f})"
    rates = {"far": (found["far"], found["impostors"]), "frr": (found["frr"], found["genuine"])}
    shown = {name: [percent(each) for each in (rate, *share_interval(rate, n))] for name, (rate, n) in rates.items()}
    return {
        "score": f"{found['value']:.4f}{ends}",
        **{name: f"{rate} ({low} to {high})" for name, (rate, low, high) in shown.items()},
    }


def _place(name: str) -> tuple[int, float, str]:
    """Return where a rule stands: accuracy and EER, the rates from the lowest, the costs."""
    if match := re.fullmatch(r"far_(\w+)_percent", name):
        return 1, float(match[1].replace("_", ".")), name
    return 2 if name.startswith("cost_") else 0, 0.0, name


def _rule(name: str) -> str:
    r"""Return what a rule is called.

    Example:
        >>> _rule("far_0_1_percent"), _rule("cost_rare"), _rule("eer")
        ('FAR 0.1 %', 'cost, rare', 'eer')
    """
    if match := re.fullmatch(r"far_(\w+)_percent", name):
        return f"FAR {match[1].replace('_', '.')} %"
    return name.replace("cost_", "cost, ")


def _split(samples: pd.DataFrame, name: str) -> dict[str, object]:
    mine, seen = (set(samples.loc[samples["split"] == split, "class"].dropna()) for split in (name, "train"))
    count = int((samples["split"] == name).sum())
    return {"name": name, "samples": count, "classes": len(mine), "seen": len(mine & seen)}


def _limits(samples: pd.DataFrame, metrics: Mapping[str, Any]) -> list[str]:
    """Return what the data cannot show, as far as the files of the stages tell."""
    test, verification = _split(samples, "test"), metrics["verification"]
    classes, seen = test["classes"], test["seen"]
    found = [
        f"false-accept rates below {percent(verification['least_far'])}: {verification['impostors']} impostor trials "
        "cannot show them"
    ]
    if not classes:
        found.insert(0, "classes: the samples have none, only pairs of them do")
    elif seen:
        found.insert(0, f"classes that training has not seen: {seen} of the {classes} test classes were in training")
    else:
        found.insert(0, f"classes unlike the {classes} test classes, none of which training has seen")
    if samples["forges"].isna().all():
        found.append("forgeries: there were none among the samples")
    if not metrics.get("slices"):
        found.append("how it serves one group and another: no groups were told apart")
    return found


def _slice(column: str, found: Mapping[str, Any]) -> dict[str, object]:
    worst = {
        name: "not measurable"
        if found[f"{name}_worst"] is None
        else f"{percent(found[f'{name}_worst'])} ({code(str(found[f'{name}_worst_group']))})"
        for name in ("eer", "accuracy")
    }
    return {"column": code(column), "measured": found["measured"], **worst}


def _errors(root: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the errors of each kind, the worst first."""
    frame, found = artifacts.ERRORS.read(root), dict[str, list[dict[str, Any]]]()
    for row in frame.to_dict("records"):
        found.setdefault(f"{str(row['error']).capitalize()}s", []).append({str(k): v for k, v in row.items()})
    return found
