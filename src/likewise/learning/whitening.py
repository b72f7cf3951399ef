"""Whitening: a head fitted to how far the features of samples of one class spread, in place of the learnt one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHRINKAGE = 0.1
"""What is added to every variance of the features within classes, as a share of the mean variance."""


class Spread:
    """Collects the mean of features, and their covariance within classes, in double precision.

    `W = sum_c sum_{x of c} (x - m_c)(x - m_c)' / n`, m_c the mean of class c and n the number of samples.

    Args:
        features: numbers a sample.
        device: where the features are.

    Example:
        >>> spread = Spread(1, device=torch.device("cpu"))
        >>> spread.add(torch.tensor([[1.0], [3.0], [10.0]]), torch.tensor([0, 0, 1]))
        >>> spread.mean().item(), round(spread.within().item(), 4)  # (1 + 1 + 0) / 3
        (4.666666666666667, 0.6667)
    """

    def __init__(self, features: int, *, device: torch.device) -> None:
        self._count = torch.zeros(0, dtype=torch.float64, device=device)
        self._sum = torch.zeros(0, features, dtype=torch.float64, device=device)
        self._products = torch.zeros(features, features, dtype=torch.float64, device=device)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Take in the features (n, features) of samples, and the class number of each (n,), at least 0."""
        wide = features.double()
        more = max(0, int(labels.max()) + 1 - len(self._count))
        self._count = F.pad(self._count, (0, more))
        self._sum = F.pad(self._sum, (0, 0, 0, more))
        self._count.index_add_(0, labels, torch.ones_like(wide[:, 0]))
        self._sum.index_add_(0, labels, wide)
        self._products.addmm_(wide.T, wide)

    def mean(self) -> Tensor:
        """Return the mean of all samples, (features,)."""
        return self._sum.sum(dim=0) / self._count.sum()

    def square(self) -> float:
        """Return the mean square of the features."""
        return float(self._products.diagonal().mean() / self._count.sum())

    def within(self) -> Tensor:
        """Return the covariance within classes, (features, features)."""
        roots = self._sum / self._count.clamp(min=1).sqrt()[:, None]
        return (self._products - roots.T @ roots) / self._count.sum()


def head(spread: Spread) -> nn.Linear:
    """Return the layer `x -> L^-1 (x - mean)`, with `L L' = W + shrinkage`: as many numbers out as in.

    Distances are then in units of how far samples of one class spread in that direction, so that what varies within
    a class counts for little (within-class covariance normalisation; Hatch, Kajarekar, Stolcke: Within-class
    covariance normalization for SVM-based speaker recognition, 2006). The root that is taken turns the space only:
    Euclidean and cosine distances do not depend on it.

    Raises:
        ValueError: when the features do not vary within classes.
    """
    within, mean = spread.within(), spread.mean()
    level = within.diagonal().mean()
    # Written so that NaN is refused; below this the variance is rounding.
    if not float(level) > 1e-12 * spread.square():
        raise ValueError("the features of each class are all alike, or not finite: there is no spread to whiten")
    eye = torch.eye(len(within), dtype=within.dtype, device=within.device)
    root = torch.linalg.cholesky(within + SHRINKAGE * level * eye)
    weight = torch.linalg.solve_triangular(root, eye, upper=False)
    made = nn.Linear(len(mean), len(mean), device=within.device)
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(-weight @ mean)
    return made
