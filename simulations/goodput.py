"""What failures cost a training on many GPUs: an event simulation beside the exact expectation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Job:
    """A training on many GPUs that stops as one and goes on from its last checkpoint; all times in seconds.

    Args:
        gpus: how many; any one that fails stops all.
        gpu_mtbf: mean time between failures of one GPU with its share of host, network and software.
        interval: work between two checkpoints.
        checkpoint: what writing one takes, training standing still.
        restart: from a failure until work goes on; it may fail as well.
    """

    gpus: int
    gpu_mtbf: float
    interval: float
    checkpoint: float
    restart: float

    @property
    def mtbf(self) -> float:
        """Mean time between failures of the whole job."""
        return self.gpu_mtbf / self.gpus


def expected(job: Job) -> float:
    """Return the share of the time that is useful work.

    Failures without memory make it exact: an interval takes `M e^(R/M) (e^((t + c)/M) - 1)` on average (Daly: A higher
    order estimate of the optimum checkpoint interval for restart dumps, 2006), M the mean time between failures,
    R the restart, t the interval, c the checkpoint.

    Example:
        >>> round(expected(Job(gpus=1, gpu_mtbf=1e12, interval=90, checkpoint=10, restart=0)), 3)
        0.9
    """
    mean = job.mtbf
    taken = mean * math.exp(job.restart / mean) * math.expm1((job.interval + job.checkpoint) / mean)
    return job.interval / taken


def simulated(job: Job, *, intervals: int, seed: int) -> float:
    """Return the share of the time that is useful work, by playing every failure.

    Args:
        job: what runs.
        intervals: how many have to be done.
        seed: of the failures.
    """
    generator = np.random.default_rng(seed)
    clock, done = 0.0, 0
    fails = generator.exponential(job.mtbf)
    ready = 0.0  # of the restart under way
    while done < intervals:
        end = clock + ready + job.interval + job.checkpoint
        if end <= fails:
            clock, done, ready = end, done + 1, 0.0
        else:
            clock, ready = fails, job.restart
            fails = clock + generator.exponential(job.mtbf)
    return intervals * job.interval / clock


def best_interval(job: Job) -> float:
    """Return Young's interval, `sqrt(2 c M)` (A first order approximation to the optimum checkpoint interval, 1974).

    Example:
        >>> best_interval(Job(gpus=1000, gpu_mtbf=50_000 * 3600, interval=1, checkpoint=40, restart=0)) / 60
        63.2...
    """
    return math.sqrt(2 * job.checkpoint * job.mtbf)


def lines(gpu_counts: tuple[int, ...], job: Job, *, intervals: int, seed: int) -> list[dict[str, float]]:
    """Return, for each number of GPUs, the expected and the played share, and the share at Young's interval."""
    found = []
    for gpus in gpu_counts:
        here = replace(job, gpus=gpus)
        young = replace(here, interval=best_interval(here))
        found.append(
            {
                "gpus": gpus,
                "mtbf_hours": here.mtbf / 3600,
                "expected": expected(here),
                "simulated": simulated(here, intervals=intervals, seed=seed),
                "young_minutes": young.interval / 60,
                "young_expected": expected(young),
            }
        )
    return found
