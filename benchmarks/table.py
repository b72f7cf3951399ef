"""Write `docs/benchmarks.md` from the JSON of the benchmarks; what each line is to reach stands in `GOALS`.

python -m benchmarks.table
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import timing

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"

Line = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """What a line is to reach; what is none is not asked.

    Args:
        speed: at least so many times as fast as the peer.
        time: at most so many times the peer's time.
        memory: at most so many times the peer's memory.
        megabytes: at most so much memory.
        seconds: at most so long, by the median.
    """

    speed: float | None = None
    time: float | None = None
    memory: float | None = None
    megabytes: float | None = None
    seconds: float | None = None


PML = "pytorch-metric-learning"
MATRICES = ("our distance matrix", "torch.cdist")
AS_MUCH = Goal(memory=1.1)

GOALS: dict[str, dict[tuple[str, str], Goal]] = {
    "triplet_losses": {
        ("all triplets, n = 1024, 4 a class", f"{PML} TripletMarginLoss"): Goal(speed=40, memory=0.1),
        **{("all triplets, n = 4096, 32 a class", matrix): Goal(time=3) for matrix in MATRICES},
        **{("semi-hard, n = 4096, 32 a class", matrix): Goal(time=3) for matrix in MATRICES},
        **{("nearest semi-hard, n = 4096, 32 a class", matrix): Goal(time=3) for matrix in MATRICES},
        **{("hard, n = 4096, 32 a class", matrix): Goal(time=3) for matrix in MATRICES},
        ("NT-Xent, n = 1024, 4 a class", f"{PML} NTXentLoss"): Goal(speed=1, memory=0.1),
        ("multi-similarity, n = 1024, 4 a class", f"{PML} MultiSimilarityLoss"): Goal(speed=1, memory=0.1),
    },
    "training_speed": {
        ("training, conv, 28 x 28, batch 256", "the bare step on one batch in memory"): Goal(speed=0.95),
    },
    "uniform_triplets": {
        **{
            (f"10,000,000 uniform triplets, {classes} classes", f"NumPy, by {way}"): Goal(speed=3)
            for classes in ("10", "10,000")
            for way in ("anchor", "class")
        },
        ("what numbered triplets keep, 600,000 samples, 10 classes", "the same for 60,000 samples"): AS_MUCH,
        ("what numbered triplets keep, 600,000 samples, 10,000 classes", "the same for 60,000 samples"): AS_MUCH,
    },
    "verification": {
        ("exact ROC over all pairs, 10,000 samples", "the matrix product alone"): Goal(time=5, megabytes=1000),
        ("exact ROC over all pairs, 10,000 samples", "scikit-learn roc_curve on all scores"): Goal(speed=20),
        ("exact ROC over all pairs, 50,000 samples", "the same for 10,000 samples"): Goal(megabytes=1000),
    },
    "retrieval": {
        ("retrieval metrics, exact, 50,000 samples", "faiss exact index, search only"): Goal(speed=1, megabytes=800),
    },
    "oneshot": {
        ("10,000 20-way 1-shot episodes", "NumPy, an episode at a time"): Goal(seconds=5),
    },
    "evaluation": {
        ("evaluate, 1,000 test samples, with the report", "importing its libraries"): Goal(seconds=10),
    },
    "using": {
        ("likewise.load(...).embed, 28 x 28 arrays", "the bare forward"): Goal(speed=0.9),
        ("the embedding of export, 28 x 28", "the bare forward"): Goal(speed=0.9),
        ("scoring server, one comparison of 28 x 28, medians of 50 requests", "the same by Model.compare"): Goal(
            seconds=0.015
        ),
        ("logging a version, with its figures, card and tags", "mlflow.pyfunc.log_model, the model alone"): Goal(
            seconds=1
        ),
        ("likewise compare, cold, from a folder", "importing torch"): Goal(seconds=3.5),
        ("likewise compare, cold, from the registry", "importing mlflow and torch"): Goal(seconds=7),
    },
    "embed_flow": {
        ("embedding PNG files by a vit of 48 x 48 pixels, two workers", "one worker"): Goal(speed=1.7),
    },
    "ingest": {
        ("60,000 PNG files of 28 x 28, ingested", "the bare decode of the pool"): Goal(speed=0.8),
        ("60,000 PNG files of 28 x 28, ingested, processor seconds", "the bare decode of the pool"): Goal(speed=0.8),
        ("what 1,000,000 files take besides the array", "the same for 100,000"): Goal(megabytes=1000),
    },
    "distances": {},
    "flows": {
        **{
            (f"what retrain adds to each of 7 stages that take no time, {how}", "dvc repro, a stage"): Goal(seconds=1.5)
            for how in ("nothing pushed", "each pushed")
        },
        **{
            (f"until {what}", "-"): Goal(seconds=4)
            for what in ("an idle worker takes a run that was made", "the flow of that run has begun")
        },
    },
}
"""What is asked of lines, by benchmark, work and peer; lines without a goal are there to be known."""

INTRODUCTION = """\
# Benchmarks

Written by `python -m benchmarks.table` from `benchmarks/results/*.json`; do not edit. `make bench` measures everything
anew, some half an hour on two quiet cores, and writes this page. What each line is to reach stands in
`benchmarks/table.py`; lines that miss it stay.

Both sides of a line run in one process, turn about, after a warm-up, so that whatever else the machine does slows both.
Times are medians, with the least and the most. The ratio is the peer's median over ours, above 1 where we are
faster, with the least and the most of the turns. Memory is by how much a process's resident memory rises at most during
one call, in a new process where a small call came before; for uniform triplets, which are NumPy's, what is allocated
beside the result. Load, where it stands, is how many processes wanted a core before and after, those measured and
those of others. A dash is a figure that was not measured, or not asked for.
"""

HEADER = """\
| work | ours | peer | the peer takes | ratio | memory: ours | peer | to reach | reached |
|---|---|---|---|---|---|---|---|---|"""


def load() -> dict[str, Any]:
    """Return the result of every benchmark that has one, by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(timing.RESULTS.glob("*.json"))}


def document(results: dict[str, Any]) -> str:
    """Return the page for these results."""
    return "\n".join([INTRODUCTION, *(section(name, results[name]) for name in GOALS if name in results)])


def section(name: str, result: dict[str, Any]) -> str:
    """Return one benchmark's heading, machine and table."""
    machine = result["machine"]
    packages = ", ".join(f"{package} {version}" for package, version in machine["packages"].items())
    threads = "1 thread" if result["threads"] == 1 else f"{result['threads']} threads"
    load = f", load {' to '.join(f'{value:.1f}' for value in result['load'])}" if "load" in result else ""
    where = f"{machine['processor']}, {threads}, Python {machine['python']}, {packages}{load}."
    rows = [row(line, GOALS[name].get((line["work"], line["peer_name"]))) for line in result["lines"]]
    return "\n".join([f"## `benchmarks/{name}.py`", "", where, "", HEADER, *rows, ""])


def row(line: Line, goal: Goal | None) -> str:
    """Return a line of the table."""
    items = line.get("items")
    times = [seconds(line.get(side), items) for side in ("ours", "peer")]
    ratio = f"{line['ratio']:.3g} ({line['ratio_min']:.3g} to {line['ratio_max']:.3g})" if "ratio" in line else "-"
    peer = f"fails {line['peer_failed']}" if "peer_failed" in line else times[1]
    memory = [megabytes(line.get(f"{side}_bytes")) for side in ("ours", "peer")]
    asked = asked_for(goal) if goal else "-"
    cells = [line["work"], times[0], line["peer_name"], peer, ratio, *memory, asked, verdict(line, goal)]
    return f"| {' | '.join(cells)} |"


def seconds(side: dict[str, Any] | None, items: int | None) -> str:
    """Return a side's median, least and most; how many items a second where they were counted."""
    if side is None:
        return "-"
    unit, scale = ("ms", 1e3) if side["median_s"] < 1 else ("s", 1)
    median, least, most = (figure(side[key] * scale) for key in ("median_s", "min_s", "max_s"))
    rate = f", {items / side['median_s']:,.0f} a second" if items else ""
    return f"{median} {unit} ({least} to {most}){rate}"


def megabytes(size: int | None) -> str:
    """Return a size in megabytes."""
    return "-" if size is None else f"{figure(size / 1e6)} MB"


def figure(value: float) -> str:
    """Return a number to three digits, whole above a hundred.

    >>> figure(0.12345), figure(1329.2)
    ('0.123', '1,329')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def asked_for(goal: Goal) -> str:
    """Say what is to be reached."""
    parts = [
        (goal.speed, "at least {:g} times as fast"),
        (goal.time, "at most {:g} times its time"),
        (goal.memory, "at most {:g} of its memory"),
        (goal.megabytes, "at most {:g} MB"),
        (goal.seconds, "at most {:g} s"),
    ]
    said = ", ".join(text.format(value) for value, text in parts if value is not None)
    return said.replace("at least 1 times as fast", "at least as fast")


def verdict(line: Line, goal: Goal | None) -> str:
    """Return whether a line reaches its goal; a peer that failed and a figure that is missing are no verdict."""
    if goal is None:
        return "-"
    if "peer_failed" in line:
        return "the peer fails"
    if any(line.get(key) is None for key in needed(goal)):
        return "not measured"
    return "yes" if reached(line, goal) else "**no**"


def needed(goal: Goal) -> set[str]:
    """Return the figures of a line that a goal is about."""
    about = {
        "ratio": (goal.speed, goal.time),
        "ours": (goal.seconds,),
        "ours_bytes": (goal.memory, goal.megabytes),
        "peer_bytes": (goal.memory,),
    }
    return {key for key, values in about.items() if any(value is not None for value in values)}


def reached(line: Line, goal: Goal) -> bool:
    """Tell whether a line reaches all that is asked of it."""
    tests = [
        goal.speed is None or line["ratio"] >= goal.speed,
        goal.time is None or line["ratio"] * goal.time >= 1,
        goal.memory is None or line["ours_bytes"] <= goal.memory * line["peer_bytes"],
        goal.megabytes is None or line["ours_bytes"] <= goal.megabytes * 1e6,
        goal.seconds is None or line["ours"]["median_s"] <= goal.seconds,
    ]
    return all(tests)


def main() -> None:
    """Write the page, and say which lines do not reach what they are to."""
    results = load()
    DOCUMENT.write_text(document(results), encoding="utf-8")
    for name, goals in GOALS.items():
        for line in results[name]["lines"]:
            goal = goals.get((line["work"], line["peer_name"]))
            if verdict(line, goal) == "**no**":
                print(f"not reached: {timing.describe(line)}")
    print(f"written to docs/{DOCUMENT.name}")


if __name__ == "__main__":
    main()
