"""How healthy a training is: what each layer does to a fixed batch, and whether the embeddings have collapsed."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from likewise.learning.initialisers import layer_statistics
from likewise.learning.losses import Loss, PairTuples, TripletTuples

SHRINK = 1e-3
"""How much closer to each other embeddings are taken to be when they have collapsed."""


@dataclass(frozen=True)
class Look:
    """What was seen after an epoch: one record a layer, and the loss that embeddings all alike would have."""

    layers: list[dict[str, Any]]
    collapsed_loss: float


class Diagnosis:
    """Looks at the same batch again and again; the encoder and the loss stay as they are.

    Args:
        samples: a batch (n, ...), on the encoder's device.
        labels: class number of each (n,), there too.
        tuples: the pairs or triplets among them; none: the batch's own.
    """

    def __init__(self, samples: Tensor, labels: Tensor, tuples: PairTuples | TripletTuples | None) -> None:
        self._samples, self._labels, self._tuples = samples, labels, tuples

    def look(self, encoder: nn.Module, loss: Loss, *, epoch: int) -> Look:
        """Return the mean and variance of every layer's numbers and gradients, and the loss at collapse.

        Collapse is taken as the batch with every embedding moved to the batch's mean but for a thousandth of the
        way: who is nearer than whom stays as it was, so that miners find what they would find.
        """
        mode = loss.training
        state = copy.deepcopy(loss.state_dict())
        embeddings: list[Tensor] = []

        def measured(found: Tensor) -> Tensor:
            embeddings.append(found.detach())
            return loss.measure(found.float(), self._labels, self._tuples).loss

        try:
            # In evaluation mode a memory takes nothing in.
            loss.eval()
            layers = layer_statistics(encoder, self._samples, measured)
            mean = embeddings[0].mean(dim=0)
            alike = mean + SHRINK * (embeddings[0] - mean)
            with torch.no_grad():
                collapsed = loss.measure(alike, self._labels, self._tuples).loss.item()
        finally:
            loss.load_state_dict(state)
            loss.train(mode)
        return Look([{"epoch": epoch, **layer._asdict()} for layer in layers], collapsed)


def collapsed(loss: float, collapsed_loss: float, val_eer: float) -> bool:
    """Tell whether a loss stands where embeddings that are all alike would put it, and val agrees.

    For the triplet loss that is the margin (Hermans, Beyer, Leibe 2017, section 3.2). The loss is within 2 % of it,
    and an EER above 25 % says that nothing tells the classes apart.

    Example:
        >>> collapsed(0.2, 0.2, 0.5), collapsed(0.2, 0.2, 0.01), collapsed(0.1, 0.2, 0.5)
        (True, False, False)
    """
    return abs(loss - collapsed_loss) <= 0.02 * abs(collapsed_loss) and val_eer > 0.25
