"""The simulations behind docs/scale.md agree with what can be worked out otherwise, and the page with them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from likewise.evaluation.verification import roc_all_pairs
from simulations import budget, goodput, partial_proxies, quantised_index, scale

JOB = goodput.Job(gpus=100, gpu_mtbf=400_000.0, interval=300.0, checkpoint=20.0, restart=100.0)


def test_the_document_shows_the_results() -> None:
    document = scale.DOCUMENT.read_text(encoding="utf-8")
    results = json.loads(scale.RESULTS.read_text(encoding="utf-8"))
    assert scale.filled(document, results) == document


def test_the_budget_in_the_results_is_the_one_counted_now() -> None:
    results = json.loads(scale.RESULTS.read_text(encoding="utf-8"))
    assert results["budget"] == [list(line) for line in budget.lines(scale.PROJECT)]


def test_a_document_without_a_place_is_refused() -> None:
    results = json.loads(scale.RESULTS.read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match="no place <!-- budget -->"):
        scale.filled("# Scale\n", results)


@pytest.mark.parametrize("gpus", [1, 100, 1000])
def test_played_failures_cost_what_the_formula_expects(gpus: int) -> None:
    job = replace(JOB, gpus=gpus)
    assert goodput.simulated(job, intervals=40_000, seed=0) == pytest.approx(goodput.expected(job), rel=0.02)


def test_youngs_interval_is_about_the_best() -> None:
    young = goodput.best_interval(JOB)
    best = max((goodput.expected(replace(JOB, interval=t)), t) for t in np.linspace(20, 3000, 600))
    assert goodput.expected(replace(JOB, interval=young)) == pytest.approx(best[0], rel=1e-3)
    assert young == pytest.approx(best[1], rel=0.1)


def test_a_ring_gathers_in_its_steps() -> None:
    size, gpus, link = 12.0, 4, 2.0
    # Each of g - 1 steps sends one part over every link at once.
    assert budget.gathered(size, gpus, link) == pytest.approx(sum(size / gpus / link for _ in range(gpus - 1)))


def test_a_step_meets_the_classes_of_its_batch_and_some_others() -> None:
    labels = torch.tensor([7, 3, 7, 41])
    met, places = partial_proxies.chosen(labels, classes=50, share=0.2, generator=torch.Generator().manual_seed(0))
    assert len(met) == 10
    assert met.tolist() == sorted(set(met.tolist()))
    assert met[places].tolist() == labels.tolist()


def test_the_classes_of_the_batch_are_met_even_where_they_are_more_than_the_share() -> None:
    labels = torch.arange(20)
    met, places = partial_proxies.chosen(labels, classes=50, share=0.1, generator=torch.Generator().manual_seed(0))
    assert met.tolist() == labels.tolist() == places.tolist()


def test_training_with_some_proxies_learns() -> None:
    made = partial_proxies.Made(classes=100, unseen=60, samples=8, latent=4, noise=0.1, seed=0)
    _, _, unseen, labels = made.draw()
    untrained = roc_all_pairs(unseen.numpy(), labels.numpy(), "cosine").eer
    assert partial_proxies.trained_eer(made, share=0.2, epochs=10, batch=48, seed=0) < 0.6 * untrained


def test_longer_codes_find_more_and_a_second_look_more_still() -> None:
    vectors, queries = quantised_index.made(classes=300, samples=4, queries=50, width=16, spread=0.6, seed=0)
    short, long = quantised_index.lines(vectors, queries, (2, 8), k=5, again=60)
    assert short["recall"] < long["recall"] <= long["recall_again"]
    assert short["recall"] < short["recall_again"]


def test_made_vectors_have_length_one_and_their_class_nearest() -> None:
    vectors, queries = quantised_index.made(classes=50, samples=3, queries=50, width=32, spread=0.3, seed=0)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert ((queries @ vectors.T).argmax(axis=1) // 3).tolist() == list(range(50))
    assert math.isclose(quantised_index.recall(np.array([[0, 1]]), np.array([[1]])), 1.0)
