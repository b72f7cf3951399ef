"""A sample of the class proxies a step instead of all of them: what it costs in EER on unseen classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from likewise.evaluation.verification import roc_all_pairs
from likewise.learning.proxies import ArcFaceLoss

WIDTH, HIDDEN = 64, 256


@dataclass(frozen=True)
class Made:
    """Made samples: a class's point, with noise, beside numbers that tell nothing, seen through a random network.

    Args:
        classes: to train on.
        unseen: classes to judge on.
        samples: of each class.
        latent: numbers of a class's point, drawn from a standard normal; and as many that are each sample's own.
        noise: deviation of a sample from its class's point, in each number.
        seed: of all of it.
    """

    classes: int
    unseen: int
    samples: int
    latent: int
    noise: float
    seed: int

    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return samples (n, 64) and labels to train on, and those to judge on."""
        generator = torch.Generator().manual_seed(self.seed)
        count = self.classes + self.unseen
        centres = torch.randn(count, self.latent, generator=generator)
        labels = torch.arange(count).repeat_interleave(self.samples)
        points = centres[labels] + self.noise * torch.randn(len(labels), self.latent, generator=generator)
        points = torch.cat([points, torch.randn(points.shape, generator=generator)], dim=1)
        first = torch.randn(2 * self.latent, HIDDEN, generator=generator) / self.latent**0.5
        second = torch.randn(HIDDEN, WIDTH, generator=generator) / HIDDEN**0.5
        seen = torch.tanh(points @ first) @ second
        known = labels < self.classes
        return seen[known], labels[known], seen[~known], labels[~known]


def chosen(labels: Tensor, *, classes: int, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the classes that a step meets, in order, and the labels as places among them.

    All classes of the batch are met, and others drawn at random until they are `share` of all (An and others: Killing
    two birds with one stone: efficient and robust training of face recognition CNNs by Partial FC, 2022).

    Args:
        labels: of the batch (n).
        classes: how many there are.
        share: of the classes that a step meets; the batch's own are met even where they are more.
        generator: draws the others.
    """
    ranks = torch.rand(classes, generator=generator)
    ranks[labels] = -1.0
    count = max(round(share * classes), int((ranks < 0).sum()))
    met = ranks.topk(count, largest=False).indices.sort().values
    return met, torch.searchsorted(met, labels)


def trained_eer(made: Made, *, share: float, epochs: int, batch: int, seed: int) -> float:
    """Return the EER over all pairs of unseen classes after training with `share` of the proxies a step."""
    samples, labels, unseen, unseen_labels = made.draw()
    torch.manual_seed(seed)
    encoder = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
    encoder.append(nn.Linear(HIDDEN, WIDTH))
    loss = ArcFaceLoss(classes=made.classes, embedding=WIDTH, seed=seed)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *loss.parameters()], lr=2e-3)
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * (len(labels) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=2e-3, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(labels), generator=generator)
        for rows in order[: len(order) // batch * batch].view(-1, batch):
            met, places = chosen(labels[rows], classes=made.classes, share=share, generator=generator)
            value = functional_call(loss, {"proxies": loss.proxies[met]}, (encoder(samples[rows]), places))
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
    with torch.inference_mode():
        embeddings = encoder(unseen).numpy()
    return roc_all_pairs(embeddings, unseen_labels.numpy(), "cosine").eer


def lines(made: Made, shares: tuple[float, ...], seeds: tuple[int, ...]) -> list[dict[str, float]]:
    """Return, for each share, the mean EER over the seeds and its deviation."""
    found = []
    for share in shares:
        rates = [trained_eer(made, share=share, epochs=10, batch=256, seed=seed) for seed in seeds]
        found.append({"share": share, "eer": float(np.mean(rates)), "deviation": float(np.std(rates, ddof=1))})
    return found
