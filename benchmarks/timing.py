"""Time ours against a peer in one run: warm-up, interleaved repeats, median and spread, peak memory, JSON.

A result is a list of lines, each some work done by us and by a named peer. A line has `work` and `peer_name`; what
`compare` measured, unless a side failed; and `ours_bytes` and `peer_bytes` where memory was measured. `peer_failed`
says why a peer failed, `items` how many things a call deals with where they are counted.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"

Clock = Callable[[], float]


def seconds(call: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Return how long one call takes by a clock, in seconds, its result thrown away."""
    gc.collect()
    begin = clock()
    call()
    return clock() - begin


def worked() -> float:
    """Return the processor seconds of this process and of its children that ended: a clock of work, not of waiting."""
    return sum(os.times()[:4])


def summary(times: list[float]) -> dict[str, Any]:
    """Return the median, the fastest, the slowest and every repeat, in seconds."""
    return {
        "median_s": round(statistics.median(times), 6),
        "min_s": round(min(times), 6),
        "max_s": round(max(times), 6),
        "times_s": [round(value, 6) for value in times],
    }


def traced_peak(call: Callable[[], object]) -> int:
    """Return the most bytes that Python and NumPy held at once during a call, beyond what was held before.

    torch does not report its allocations here: use `resident_peak` for it.
    """
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - before


def traced_held(call: Callable[[], object]) -> int:
    """Return how many bytes of Python's and NumPy's the result of a call keeps."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    result = call()
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    del result
    return held


def resident_peak(call: Callable[[], object]) -> int:
    """Return by how many bytes the process's resident memory rose at most during a call (Linux).

    Memory that an allocator kept from earlier work hides part of the rise, so measure in a fresh process.
    """
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_bytes("VmRSS")
    call()
    return max(0, _status_bytes("VmHWM") - before)


def family_peak(call: Callable[[], object]) -> int:
    """Return by how many bytes the resident memory of this process and its children rose at most during a call (Linux).

    Pages that they share count once (the sum of their proportional sizes), seen every twentieth of a second by another
    process. As with `resident_peak`, measure in a fresh process.
    """
    gc.collect()
    context = get_context("spawn")
    told, tells = context.Pipe()
    watcher = context.Process(target=_watch_family, args=(os.getpid(), tells))
    watcher.start()
    before: int = told.recv()
    call()
    told.send(None)
    peak: int = told.recv()
    watcher.join()
    return max(0, peak - before)


def _watch_family(parent: int, tells: Connection) -> None:
    """Tell how much memory a process and its children hold, without this one; then, when asked, how much at most."""
    peak = _family_bytes(parent)
    tells.send(peak)
    while not tells.poll(0.05):
        peak = max(peak, _family_bytes(parent))
    tells.send(peak)


def _family_bytes(parent: int) -> int:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sum(_proportional_bytes(number) for number in {parent, *map(int, children)} - {os.getpid()})


def _proportional_bytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


def fresh(work: Callable[..., Any], *arguments: Any, prepare: Callable[[], None] | None = None) -> Any:
    """Return what a call returns in a new process, which calls `prepare` first.

    All three must be found by name in a module.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=prepare) as pool:
        return pool.submit(work, *arguments).result()


def compare(
    work: str,
    peer_name: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    repeats: int = 5,
    warmup: int = 1,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Time two calls that do the same work, turn about, and say how many times faster ours is.

    `ratio` is the peer's median over ours; `ratio_min` and `ratio_max` span the turns, each turn's peer over
    the same turn's ours, so that a machine that slows down for a while does not decide.
    """
    for _ in range(warmup):
        ours()
        peer()
    turns = [(seconds(ours, clock), seconds(peer, clock)) for _ in range(repeats)]
    mine, theirs = [turn[0] for turn in turns], [turn[1] for turn in turns]
    ratios = [their / my for my, their in turns]
    return {
        "work": work,
        "peer_name": peer_name,
        "ours": summary(mine),
        "peer": summary(theirs),
        "ratio": round(statistics.median(theirs) / statistics.median(mine), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
    }


def machine(*packages: str) -> dict[str, Any]:
    """Return what a reader needs to judge a figure: processor, Python and the versions of some packages."""
    return {
        "processor": _processor(),
        "python": platform.python_version(),
        "packages": {package: version(package) for package in packages},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.machine()
    models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
    return f"{len(models)} x {models[0]}" if models else platform.machine()


def describe(line: dict[str, Any]) -> str:
    """Say in a line of text what a line holds."""
    said = f"{line['work']} against {line['peer_name']}:"
    if "ours" in line:
        said += f" {line['ours']['median_s']:.3f} s"
    if "peer" in line:
        said += f" and {line['peer']['median_s']:.3f} s"
    if "ratio" in line:
        said += f", ratio {line['ratio']:.2f} ({line['ratio_min']:.2f} to {line['ratio_max']:.2f})"
    if line.get("ours_bytes") is not None:
        sides = [line["ours_bytes"], line.get("peer_bytes")]
        said += ", " + " and ".join("?" if side is None else f"{side / 1e6:.1f} MB" for side in sides)
    return f"{said}, the peer failed: {line['peer_failed']}" if "peer_failed" in line else said


def write(name: str, lines: list[dict[str, Any]], *, machine: dict[str, Any], threads: int, **details: Any) -> Path:
    """Print the lines, write them to `benchmarks/results/<name>.json` and return where.

    Args:
        name: of the benchmark, its module's.
        lines: what was measured.
        machine: what `machine` returned.
        threads: of PyTorch, on both sides.
        **details: what else the benchmark found.
    """
    for line in lines:
        print(describe(line), flush=True)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    result = {"machine": machine, "threads": threads, **details, "lines": lines}
    path.write_text(json.dumps(result, indent=2) + "\n")
    return path
