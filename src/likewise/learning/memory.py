"""Cross-batch memory: a loss that compares a batch with the embeddings of batches before it, too."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from likewise.learning.loss_base import Loss, LossResult
from likewise.learning.options import whole


class CrossBatchMemory(Loss):
    """A loss of each batch against itself and the last `size` embeddings, which are held constant.

    Embeddings drift slowly once training has settled, so that old ones still tell what is hard, at no cost but
    their distances (Wang, Zhang, Huang, Scott: Cross-batch memory for embedding learning, 2020). Until the memory
    is full, the first batches alone make the loss: that is its warm-up. A batch enters after it was compared, and
    in training mode only; the oldest embeddings make room. The memory is part of the state dict.

    Args:
        inner: a loss with `against`: triplet with the mining `all` or `semihard`, contrastive, binary.
        size: how many embeddings are kept.
        embedding: how many dimensions the embeddings have.

    Raises:
        ValueError: when the size is not a whole number above 0, or the loss has no `against`.

    >>> from likewise.learning.losses import TripletLoss
    >>> loss = CrossBatchMemory(TripletLoss(margin=0.2), size=2, embedding=1)
    >>> loss(torch.tensor([[0.5], [0.9]]), torch.tensor([0, 1])).item()  # no positive in the batch
    0.0
    >>> round(loss(torch.tensor([[0.2]]), torch.tensor([1])).item(), 4)  # 0.7 to its class, 0.3 to the other
    0.6
    """

    feeds: ClassVar[frozenset[str]] = frozenset({"classes"})
    past: Tensor
    past_labels: Tensor
    seen: Tensor

    def __init__(self, inner: Loss, *, size: int, embedding: int) -> None:
        super().__init__(distance=inner.distance.name)
        inner.check_against()
        self.inner = inner
        self.size = whole("memory", "size", size)
        self.register_buffer("past", torch.zeros(size, embedding))
        self.register_buffer("past_labels", torch.full((size,), -1))
        self.register_buffer("seen", torch.tensor(0))

    def project(self, embeddings: Tensor) -> Tensor:
        """Return what the inner loss makes of the embeddings."""
        return self.inner.project(embeddings)

    def _batch(self, embeddings: Tensor, labels: Tensor) -> LossResult:
        if int(self.seen) < self.size:
            result = self.inner.measure(embeddings, labels)
        else:
            result = self.inner.against(
                embeddings,
                labels,
                torch.cat([embeddings, self.past.to(embeddings.dtype)]),
                torch.cat([labels, self.past_labels]),
                itself=torch.arange(len(labels), device=labels.device),
            )
        if self.training:
            self._remember(embeddings.detach()[-self.size :], labels[-self.size :])
        return result

    def _remember(self, embeddings: Tensor, labels: Tensor) -> None:
        places = (self.seen + torch.arange(len(labels), device=labels.device)) % self.size
        self.past[places] = embeddings.to(self.past.dtype)
        self.past_labels[places] = labels.to(self.past_labels.dtype)
        self.seen += len(labels)
