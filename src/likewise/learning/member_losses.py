"""The losses of members: each over its own member's part of the embeddings, added up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from likewise.learning.loss_base import Loss, LossResult
from likewise.learning.members import Members, apart
from likewise.learning.row_tuples import PairTuples, TripletTuples


class MemberLosses(Loss):
    """A loss for each member, over its part of the embeddings alone: no gradient passes from one to another.

    Each sees what it would see of its encoder alone, and has its own mining, proxies and memory. The loss is their
    sum, so that each member learns as fast as it would alone; the share of tuples that teach nothing is their mean.
    """

    def __init__(self, losses: Sequence[Loss]) -> None:
        super().__init__(distance=losses[0].distance.name)
        self.losses = nn.ModuleList(losses)

    def measure(
        self,
        embeddings: Tensor,
        labels: Tensor | None = None,
        tuples: PairTuples | TripletTuples | None = None,
    ) -> LossResult:
        """Return the sum of the members' losses; see `Loss.measure`."""
        parts = zip(self._members(), apart(embeddings, len(self.losses)), strict=True)
        results = [loss.measure(part, labels, tuples) for loss, part in parts]
        return LossResult(
            torch.stack([result.loss for result in results]).sum(),
            torch.stack([result.zero_share for result in results]).mean(),
            torch.stack([result.candidates for result in results]).sum(),
        )

    def project(self, embeddings: Tensor) -> Tensor:
        """Return the embeddings, each part as its loss projects it."""
        parts = embeddings.chunk(len(self.losses), dim=1)
        return torch.cat([loss.project(part) for loss, part in zip(self._members(), parts, strict=True)], dim=1)

    def _members(self) -> list[Loss]:
        return [loss for loss in self.losses if isinstance(loss, Loss)]


def weights_apart(encoder: nn.Module, loss: nn.Module) -> list[list[nn.Parameter]]:
    """Return the weights of each member and its loss; without members those of the encoder and the loss."""
    pairs: Iterable[tuple[nn.Module, nn.Module]] = [(encoder, loss)]
    if isinstance(encoder, Members) and isinstance(loss, MemberLosses):
        pairs = zip(encoder.encoders, loss.losses, strict=True)
    return [[*network.parameters(), *cost.parameters()] for network, cost in pairs]
