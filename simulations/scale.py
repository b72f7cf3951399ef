"""Run the simulations and write their tables into `docs/scale.md`.

python -m simulations.scale
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.table import figure
from simulations import budget, goodput, partial_proxies, quantised_index

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "scale.json"
DOCUMENT = FOLDER.parent / "docs" / "scale.md"

PROJECT = budget.Project(
    samples=10**9,
    classes=10**7,
    gpus=1000,
    embedding=128,
    side=112,
    channels=3,
    batch=64,
    weights=25 * 10**6,
    images_per_second=2000,
    link=25e9,
    flops=1e14,
)
JOB = goodput.Job(gpus=1000, gpu_mtbf=50_000 * 3600, interval=1000 / 2, checkpoint=30, restart=300)
MADE = partial_proxies.Made(classes=2000, unseen=300, samples=8, latent=8, noise=0.3, seed=0)


def measured() -> dict[str, Any]:
    """Return what every simulation found."""
    vectors, queries = quantised_index.made(
        classes=10_000, samples=5, queries=500, width=PROJECT.embedding, spread=0.6, seed=0
    )
    return {
        "budget": [list(line) for line in budget.lines(PROJECT)],
        "goodput": goodput.lines((8, 100, 1000, 10_000), JOB, intervals=200_000, seed=0),
        "proxies": partial_proxies.lines(MADE, (1.0, 0.5, 0.25, 0.0), (0, 1, 2)),
        "index": quantised_index.lines(vectors, queries, (8, 16, 32, 64), k=10, again=100),
    }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown.

    Example:
        >>> print(table(["a", "b"], [["1", "2"]]))
        | a | b |
        |---|---|
        | 1 | 2 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"|{'|'.join(line)}|" if line[0] == "---" else f"| {' | '.join(line)} |" for line in lines)


def tables(results: Mapping[str, Any]) -> dict[str, str]:
    """Return each simulation's table, by the name of its place in the document."""
    return {
        "budget": table(
            ["what", "how much"], [[what, f"{figure(value)} {unit}".strip()] for what, value, unit in results["budget"]]
        ),
        "goodput": table(
            ["GPUs", "a failure every", "useful, by the formula", "useful, played", "best interval", "useful at it"],
            [
                [
                    f"{row['gpus']:,}",
                    f"{figure(row['mtbf_hours'])} h",
                    f"{row['expected']:.1%}",
                    f"{row['simulated']:.1%}",
                    f"{figure(row['young_minutes'])} minutes",
                    f"{row['young_expected']:.1%}",
                ]
                for row in results["goodput"]
            ],
        ),
        "proxies": table(
            ["classes met a step", "EER, unseen classes", "deviation over seeds"],
            [
                [
                    f"{row['share']:.0%}" if row["share"] else "the batch's own",
                    f"{row['eer']:.1%}",
                    f"{row['deviation']:.1%}",
                ]
                for row in results["proxies"]
            ],
        ),
        "index": table(
            ["bytes a code", "recall of the 10 nearest", "after a second look at 100", "a billion in memory"],
            [
                [
                    f"{row['code_bytes']}",
                    f"{row['recall']:.1%}",
                    f"{row['recall_again']:.1%}",
                    f"{row['gigabytes_a_billion']} GB",
                ]
                for row in results["index"]
            ],
        ),
    }


def filled(document: str, results: Mapping[str, Any]) -> str:
    """Return the document with each table between its marks, `<!-- name -->` and `<!-- end -->`.

    Raises:
        ValueError: when a table has no place.
    """
    for name, lines in tables(results).items():
        before, mark, rest = document.partition(f"<!-- {name} -->\n")
        if not mark:
            raise ValueError(f"{DOCUMENT}: there is no place <!-- {name} -->")
        document = f"{before}{mark}{lines}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    return document


def main() -> None:
    """Simulate anew, and write the results and the document."""
    results = measured()
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    DOCUMENT.write_text(filled(DOCUMENT.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main()
