"""How the sections of metrics.json are called and written for a person."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from likewise.evaluation.figures import percent

SECTIONS = {
    "verification": "verification of pairs",
    "verification_all_pairs": "verification, all pairs",
    "verification_normalised": "verification, normalised scores",
    "calibration": "probabilities",
    "oneshot": "one-shot",
    "oneshot_prototypes": "one-shot by prototypes",
    "oneshot_within_groups": "one-shot within groups",
    "oneshot_tasks": "one-shot, listed tasks",
    "openset": "open-set identification",
}
"""What sections are called, where that is not their key."""

LABELS = {
    "accuracy": "Right answers",
    "eer": "Equal error rate",
    "eer_plain": "Equal error rate, without the convex hull",
    "eer_random": "Equal error rate, forgeries aside",
    "eer_skilled": "Equal error rate, forgeries the only impostors",
    "auc": "Area under the ROC",
    "map_at_r": "MAP@R",
    "r_precision": "R-precision",
    "delivered": "The model's calibration",
    "min_cllr": "Least Cllr, bits",
    "identification_rate": "Identified, with no threshold",
    "nmi": "Normalised mutual information",
    "ari": "Adjusted Rand index",
    "purity": "Purity",
}
NAMES = {"ndcg": "NDCG", "ece": "expected calibration error", "brier": "Brier score", "cllr": "Cllr, bits"}
PATTERNS: dict[str, Callable[[re.Match[str]], str]] = {
    r"tar_at_far_(\w+)_percent": lambda found: f"True accepts at {_number(found[1])} % false accepts",
    r"detection_rate_at_far_(\w+)_percent": lambda found: f"Identified at {_number(found[1])} % false alarms, by val",
    r"false_alarm_rate_at_far_(\w+)_percent": lambda found: f"False alarms then, {_number(found[1])} % on val",
    r"(recall|precision|ndcg)_at_(\d+)": lambda found: f"{NAMES.get(found[1], found[1].capitalize())} at {found[2]}",
    r"min_dcf_(\w+)": lambda found: f"Least detection cost ({found[1]})",
    r"dcf_(\w+)": lambda found: f"Detection cost with the threshold from val ({found[1]})",
    r"(platt|isotonic|beta)_(\w+)": lambda found: f"{found[1].capitalize()}: {NAMES.get(found[2], found[2])}",
    r"(\w+)_worst": lambda found: f"{label(found[1])}, worst group",
    r"(\w+)_gap": lambda found: f"{label(found[1])}, gap between worst and best",
}

NUMBERS = re.compile(r"(auc|nmi|ari)(_worst|_gap|_low|_high)?|.*(dcf|cllr|brier|ece).*")
"""Figures that are no shares."""

COUNTS = {
    "trials": "trials",
    "genuine": "genuine",
    "impostors": "impostors",
    "queries": "queries",
    "excluded": "excluded",
    "gallery": "gallery",
    "episodes": "episodes",
    "classes": "classes",
    "samples": "samples",
    "clusters": "clusters",
    "mates": "mates",
    "strangers": "strangers",
    "measured": "groups measured",
    "not_measured": "groups with too few trials",
    "unnamed": "trials of no group",
}
"""What figures were counted on stands beside them."""

WORDS = ("protocol", "not_measurable")
"""What is said of a section stands there too; the least rate that can be shown is in the words."""

BESIDE = ("_low", "_high", "_worst_group")
"""What stands beside a figure: the ends of its interval, the group it was found in."""


def sections(metrics: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the blocks of a table of all figures: name, note, and rows with label, value and interval."""
    found = []
    for name, values in metrics.items():
        if name == "slices":
            found += [_section(f"by {column}", groups) for column, groups in values.items()]
        else:
            found.append(_section(SECTIONS.get(name, name.replace("_", " ")), values))
    return found


def label(key: str) -> str:
    """Return a metric's name for a reader.

    >>> label("tar_at_far_0_1_percent"), label("eer_gap")
    ('True accepts at 0.1 % false accepts', 'Equal error rate, gap between worst and best')
    """
    if key in LABELS:
        return LABELS[key]
    for pattern, name in PATTERNS.items():
        if found := re.fullmatch(pattern, key):
            return name(found)
    return key.replace("_", " ").capitalize()


def figure(key: str, value: Any) -> str:
    """Return a metric's value for a reader.

    >>> figure("eer", 0.0123), figure("auc", 0.0123), figure("eer", None)
    ('1.2 %', '0.0123', 'not measurable')
    """
    if isinstance(value, float) and NUMBERS.fullmatch(key):
        return f"{value:.4f}"
    return percent(value) if value is None or isinstance(value, int | float) else str(value)


def _section(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    counts = ", ".join(f"{values[key]:,} {word}" for key, word in COUNTS.items() if key in values)
    words = [values[key] for key in WORDS if values.get(key)]
    beside = (*COUNTS, *WORDS, "least_far", "groups")
    rows = [
        {"label": label(key), "value": figure(key, value), "interval": _beside(key, values)}
        for key, value in values.items()
        if key not in beside and not key.endswith(BESIDE)
    ]
    return {
        "name": name[0].upper() + name[1:],
        "note": "; ".join([*words, *([counts] if counts else [])]),
        "rows": rows,
    }


def _beside(key: str, values: Mapping[str, Any]) -> str:
    low, high = values.get(f"{key}_low"), values.get(f"{key}_high")
    if low is not None and high is not None:
        return f"{figure(key, low)} to {figure(key, high)}"
    return str(values.get(f"{key}_group") or "")


def _number(name: str) -> str:
    return name.replace("_", ".")
