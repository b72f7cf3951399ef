from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from likewise.delivery import readings
from likewise.delivery.readings import Readings


def test_a_reading_is_of_the_time_since_the_last_one() -> None:
    each = Readings()
    start = time.monotonic()
    while time.monotonic() - start < 0.3:
        sum(range(1000))
    busy = each.since_last()
    time.sleep(0.3)
    idle = each.since_last()
    assert busy["system/epoch_seconds"] == pytest.approx(0.3, abs=0.2)
    assert idle["system/epoch_seconds"] >= 0.3
    share = "system/process_cpu_utilization_percentage"
    assert idle[share] < busy[share] <= 100
    # One processor of them all was busy, if the machine let it have one.
    assert busy[share] <= 100 / (psutil.cpu_count() or 1) + 10
    assert 0 <= busy["system/cpu_utilization_percentage"] <= 100


def test_memory_is_that_of_the_process_and_of_the_machine() -> None:
    found = Readings().since_last()
    assert found["system/process_memory_usage_megabytes"] == pytest.approx(
        psutil.Process().memory_info().rss / 1e6, rel=0.1
    )
    assert 0 < found["system/system_memory_usage_percentage"] <= 100


def test_a_reading_costs_next_to_nothing() -> None:
    each = Readings()
    times = []
    for _ in range(20):
        start = time.perf_counter()
        each.since_last()
        times.append(time.perf_counter() - start)
    assert sorted(times)[10] < 0.02


@pytest.mark.parametrize("word", ["false", "0", "False"])
def test_mlflows_own_variable_switches_it_off(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", word)
    assert Readings().since_last() == {}


def test_what_a_system_does_not_count_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: None)
    monkeypatch.setattr(psutil, "net_io_counters", lambda: None)
    found = Readings().since_last()
    assert found
    assert not [name for name in found if "disk" in name or "network" in name]


def test_counters_become_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter([SimpleNamespace(bytes_recv=5e6, bytes_sent=0), SimpleNamespace(bytes_recv=12e6, bytes_sent=3e6)])
    monkeypatch.setattr(psutil, "net_io_counters", lambda: next(counts))
    found = Readings().since_last()
    assert found["system/network_receive_megabytes"] == 7
    assert found["system/network_transmit_megabytes"] == 3


@pytest.mark.parametrize("can_be_asked", [True, False])
def test_the_gpu_in_use_is_read(can_be_asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def utilization(index: int) -> int:
        if not can_be_asked:
            raise ModuleNotFoundError("pynvml")
        return 87

    cuda: Any = SimpleNamespace(
        is_initialized=lambda: True,
        current_device=lambda: 1,
        mem_get_info=lambda index: (6_000_000_000, 8_000_000_000),
        utilization=utilization,
    )
    monkeypatch.setattr(torch, "cuda", cuda)
    found = {name: value for name, value in Readings().since_last().items() if "gpu" in name}
    busy = {"system/gpu_1_utilization_percentage": 87.0} if can_be_asked else {}
    assert found == {
        "system/gpu_1_memory_usage_megabytes": 2000.0,
        "system/gpu_1_memory_usage_percentage": 25.0,
        **busy,
    }


def test_time_as_a_guest_is_not_counted_twice() -> None:
    times = psutil.cpu_times()._asdict()
    twice = readings.total(times | {"guest": times.get("guest", 0.0) + 100})
    assert twice == readings.total(times)
