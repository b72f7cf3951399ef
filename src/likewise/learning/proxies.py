"""Losses with a learnt vector for each class: proxy-NCA, its ++, proxy-anchor, proxy-triplet, ArcFace, CosFace.

Nothing is mined: each sample meets every class. The vectors are the parameter `proxies`, which usually wants a
higher learning rate than the encoder; find it with `loss.named_parameters()`.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from likewise.choices import one_of
from likewise.learning.batch_losses import log1p_sum_exp
from likewise.learning.loss_base import (
    REDUCTIONS,
    Loss,
    LossResult,
    averaged,
    not_negative,
    positive,
    reduced,
    unit,
)


class ProxyLoss(Loss):
    """A loss with a learnt vector for each class; a subclass fills in `_meet`.

    Args:
        classes: how many classes there are; labels are 0..classes-1.
        embedding: how many dimensions the embeddings have.
        seed: of the vectors' first directions, uniform on the sphere.
        distance: the distance's name.
    """

    def __init__(self, *, classes: int, embedding: int, seed: int = 0, distance: str | None = None) -> None:
        super().__init__(distance=distance)
        if classes < 1 or embedding < 1:
            raise ValueError(f"classes and embedding must be at least 1, and are {classes} and {embedding}")
        drawn = torch.randn(classes, embedding, generator=torch.Generator().manual_seed(seed))
        self.proxies = nn.Parameter(unit(drawn))

    def _batch(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        classes, width = self.proxies.shape
        if embeddings.shape[1] != width:
            raise ValueError(f"the embeddings have {embeddings.shape[1]} dimensions and the proxies {width}")
        if bool(((labels < 0) | (labels >= classes)).any()):
            wrong = labels[(labels < 0) | (labels >= classes)][0].item()
            raise ValueError(f"labels must be 0..{classes - 1}, a number for each class, and one is {wrong}")
        return self._meet(embeddings, self.proxies.to(embeddings.dtype), labels)

    def _meet(self, embeddings: Tensor, proxies: Tensor, labels: Tensor) -> LossResult:
        raise NotImplementedError


class ProxyNCALoss(ProxyLoss):
    """Proxy-NCA: a sample's own proxy against all the others.

    `-log(exp(-d(x, p_y)) / sum_{z != y} exp(-d(x, p_z)))` with the squared euclidean distance of vectors at
    length 1 (Movshovitz-Attias et al.: No fuss distance metric learning using proxies, 2017). It can be
    negative: the sample's own proxy is not in the denominator. Compare embeddings by the cosine, which is half
    that distance.

    >>> loss = ProxyNCALoss(classes=3, embedding=2)
    >>> loss.proxies.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> round(loss(torch.tensor([[2.0, 0.0]]), torch.tensor([0])).item(), 4)  # log(2 exp(-2))
    -1.3069
    """

    distance_names: ClassVar[tuple[str, ...]] = ("cosine",)

    def _meet(self, embeddings: Tensor, proxies: Tensor, labels: Tensor) -> LossResult:
        logits = 2 * (unit(embeddings) @ unit(proxies).T) - 2
        own = logits.gather(1, labels[:, None])[:, 0]
        if len(proxies) == 1:
            return averaged(own[:0], embeddings)
        costs = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(dim=1) - own
        result = averaged(costs, embeddings)
        return LossResult(result.loss, torch.zeros_like(result.zero_share), result.candidates)


class ProxyNCAPlusLoss(ProxyLoss):
    """Proxy-NCA++: the probability of the sample's own proxy among all, at a temperature.

    `-log(exp(-d(x, p_y) / T) / sum_z exp(-d(x, p_z) / T))` with the squared euclidean distance of vectors at
    length 1 (Teh, DeVries, Taylor: ProxyNCA++, 2020). Compare embeddings by the cosine.

    Raises:
        ValueError: if the temperature is not positive.

    >>> loss = ProxyNCAPlusLoss(classes=2, embedding=2, temperature=1.0)
    >>> loss.proxies.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> round(loss(torch.tensor([[2.0, 0.0]]), torch.tensor([0])).item(), 4)  # log(1 + exp(-2))
    0.1269
    """

    distance_names: ClassVar[tuple[str, ...]] = ("cosine",)

    def __init__(
        self,
        *,
        classes: int,
        embedding: int,
        temperature: float = 1 / 9,
        seed: int = 0,
        distance: str | None = None,
    ) -> None:
        super().__init__(classes=classes, embedding=embedding, seed=seed, distance=distance)
        self.temperature = positive("temperature", temperature)

    def _meet(self, embeddings: Tensor, proxies: Tensor, labels: Tensor) -> LossResult:
        logits = (2 * (unit(embeddings) @ unit(proxies).T) - 2) / self.temperature
        return averaged(F.cross_entropy(logits, labels, reduction="none"), embeddings)


class ProxyAnchorLoss(ProxyLoss):
    """Proxy-anchor: each proxy is an anchor that pulls its own samples and pushes the others.

    The mean over proxies with samples in the batch of `log(1 + sum_{x of p} exp(-scale (s_xp - margin)))` plus
    the mean over all proxies of `log(1 + sum_{x not of p} exp(scale (s_xp + margin)))`, s the cosine (Kim, Kim,
    Cho, Kwak: Proxy anchor loss for deep metric learning, 2020).

    Raises:
        ValueError: if the scale is not positive or the margin is negative.

    >>> loss = ProxyAnchorLoss(classes=2, embedding=2, scale=1.0, margin=0.0)
    >>> loss.proxies.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> round(loss(torch.tensor([[2.0, 0.0]]), torch.tensor([0])).item(), 4)  # log(1 + 1/e) + log(2) / 2
    0.6598
    """

    distance_names: ClassVar[tuple[str, ...]] = ("cosine",)

    def __init__(
        self,
        *,
        classes: int,
        embedding: int,
        scale: float = 32.0,
        margin: float = 0.1,
        seed: int = 0,
        distance: str | None = None,
    ) -> None:
        super().__init__(classes=classes, embedding=embedding, seed=seed, distance=distance)
        self.scale, self.margin = positive("scale", scale), not_negative("margin", margin)

    def _meet(self, embeddings: Tensor, proxies: Tensor, labels: Tensor) -> LossResult:
        cosines = unit(proxies) @ unit(embeddings).T
        own = torch.arange(len(proxies), device=labels.device)[:, None] == labels
        pull = -self.scale * (cosines - self.margin)
        push = self.scale * (cosines + self.margin)
        near = log1p_sum_exp(pull.masked_fill(~own, -torch.inf))
        far = log1p_sum_exp(push.masked_fill(own, -torch.inf))
        loss = near.sum() / own.any(dim=1).sum().clamp_min(1) + far.mean()
        candidates = torch.tensor(len(proxies), device=labels.device)
        return LossResult(loss, 1 - ((near + far) > 0).double().mean(), candidates)


class ProxyTripletLoss(ProxyLoss):
    """Triplet loss with the classes' vectors as positive and negatives: no mining, every triplet counts.

    `max(0, d(x, p_y) - d(x, p_z) + margin)` over every sample x of class y and every other class z (as the
    triplets of Movshovitz-Attias et al. 2017). Distance: euclidean by default.

    Raises:
        ValueError: if the margin is negative, or the reduction or distance is unknown.

    >>> loss = ProxyTripletLoss(classes=2, embedding=1, margin=0.5)
    >>> loss.proxies.data = torch.tensor([[0.0], [1.0]])
    >>> round(loss(torch.tensor([[0.4]]), torch.tensor([0])).item(), 4)  # 0.4 - 0.6 + 0.5
    0.3
    """

    def __init__(
        self,
        *,
        classes: int,
        embedding: int,
        margin: float = 0.2,
        reduction: str = "active",
        seed: int = 0,
        distance: str | None = None,
    ) -> None:
        super().__init__(classes=classes, embedding=embedding, seed=seed, distance=distance)
        self.margin = not_negative("margin", margin)
        self.reduction = one_of("reduction", reduction, REDUCTIONS)

    def _meet(self, embeddings: Tensor, proxies: Tensor, labels: Tensor) -> LossResult:
        distances = self.distance.pairwise(embeddings, proxies)
        own = labels[:, None]
        costs = F.relu(distances.gather(1, own) - distances + self.margin).scatter(1, own, 0)
        candidates = torch.tensor(len(labels) * (len(proxies) - 1), device=labels.device)
        return reduced(costs.sum(), active=(costs > 0).sum(), candidates=candidates, reduction=self.reduction)


class CosFaceLoss(ProxyLoss):
    """CosFace: softmax over the cosines to all classes, the sample's own made smaller by a margin.

    `-log softmax_y(scale (cos_z - margin [z = y]))` (Wang et al.: CosFace, 2018). Distance: cosine.

    Raises:
        ValueError: if the scale is not positive or the margin is negative.

    >>> loss = CosFaceLoss(classes=2, embedding=2, scale=1.0, margin=0.5)
    >>> loss.proxies.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> round(loss(torch.tensor([[2.0, 0.0]]), torch.tensor([0])).item(), 4)  # log(1 + exp(-0.5))
    0.4741
    """

    distance_names: ClassVar[tuple[str, ...]] = ("cosine",)

    def __init__(
        self,
        *,
        classes: int,
        embedding: int,
        scale: float = 64.0,
        margin: float = 0.35,
        seed: int = 0,
        distance: str | None = None,
    ) -> None:
        super().__init__(classes=classes, embedding=embedding, seed=seed, distance=distance)
        self.scale, self.margin = positive("scale", scale), not_negative("margin", margin)

    def _meet(self, embeddings: Tensor, proxies: Tensor, labels: Tensor) -> LossResult:
        cosines = unit(embeddings) @ unit(proxies).T
        own = labels[:, None]
        logits = cosines.scatter(1, own, self.lowered(cosines.gather(1, own)))
        return averaged(F.cross_entropy(self.scale * logits, labels, reduction="none"), embeddings)

    def lowered(self, cosine: Tensor) -> Tensor:
        """Return the cosine to a sample's own class, made harder by the margin."""
        return cosine - self.margin


class ArcFaceLoss(CosFaceLoss):
    """ArcFace: as CosFace, with the margin added to the angle, in radians.

    `-log softmax_y(scale cos(angle_z + margin [z = y]))` (Deng et al.: ArcFace, 2019). Where the angle plus the
    margin would pass 180 degrees, and the cosine rise again, it goes on falling as `cos - margin sin(margin)`.

    >>> loss = ArcFaceLoss(classes=2, embedding=2, scale=1.0, margin=0.5)
    >>> loss.proxies.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> round(loss(torch.tensor([[2.0, 0.0]]), torch.tensor([0])).item(), 4)  # log(1 + exp(-cos(0.5)))
    0.3477
    """

    def __init__(
        self,
        *,
        classes: int,
        embedding: int,
        scale: float = 64.0,
        margin: float = 0.5,
        seed: int = 0,
        distance: str | None = None,
    ) -> None:
        super().__init__(classes=classes, embedding=embedding, scale=scale, margin=margin, seed=seed, distance=distance)
        if margin >= math.pi:
            raise ValueError(f"margin must be an angle below pi, in radians, and is {margin}")

    def lowered(self, cosine: Tensor) -> Tensor:
        """Return the cosine of the angle plus the margin."""
        # The square root has no slope at zero: angles below 1e-3.5 or so are taken as that.
        sine = (1 - cosine.square()).clamp_min(1e-7).sqrt()
        turned = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        return torch.where(cosine > -math.cos(self.margin), turned, cosine - self.margin * math.sin(self.margin))
