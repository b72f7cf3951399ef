"""Members: encoders side by side that learn apart and embed together, as one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from likewise.learning import encoders
from likewise.learning.encoders import MOST_EMBEDDING, Encoder, Network
from likewise.learning.options import whole


class Members(Network):
    """Several encoders as one: an embedding is theirs in a row, each divided by the root of their number.

    So a squared Euclidean distance is the mean of the members' distances. With `normalise` every member's part has
    the same length, the whole has length 1, and the cosine distance is the mean of theirs, too; the Euclidean one is
    the root of the mean of their squares, and the Manhattan one their mean times the root of their number. Without,
    parts are as long as they are: a member whose embeddings are longer counts for more.

    Networks that start from other weights err in other places, so that the mean errs less (Hansen and Salamon: Neural
    network ensembles, 1990; Lakshminarayanan, Pritzel, Blundell: Deep ensembles, 2017). Made by `build`.

    Attributes:
        embedding: numbers an embedding: those of all members together.

    Example:
        >>> together = build("mlp", (4,), 2, members=3, width=8)
        >>> together(torch.ones(5, 4)).shape
        torch.Size([5, 6])
    """

    def __init__(self, members: Sequence[Encoder]) -> None:
        super().__init__(sum(member.embedding for member in members))
        self.encoders = nn.ModuleList(members)

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples (n, *input_shape), uint8 or float, to embeddings (n, embedding), float32."""
        return self._together([encoder(samples) for encoder in self.encoders])

    def joined(self, means: Tensor) -> Tensor:
        """Return the embeddings of samples of several rows: each member's part as the member itself joins it.

        Args:
            means: of each sample's rows' embeddings (n, embedding).
        """
        # Where the scale is 0, so is the mean.
        parts = apart(means / self.scale.to(means).clamp(min=torch.finfo(means.dtype).tiny), len(self.encoders))
        return self._together([encoder.joined(part) for encoder, part in zip(self.singles(), parts, strict=True)])

    def describe(self) -> dict[str, Any]:
        """Return what `from_description` needs to build the same, as JSON values; `embedding` is that of a member."""
        return {"members": len(self.encoders), **self.singles()[0].describe()}

    def singles(self) -> list[Encoder]:
        """Return the members."""
        return [encoder for encoder in self.encoders if isinstance(encoder, Encoder)]

    def _together(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts, dim=1) / math.sqrt(len(parts)) * self.scale.to(parts[0])


def build(
    name: str, input_shape: Sequence[int], embedding: int, *, members: int = 1, seed: int = 0, **arguments: Any
) -> Network:
    """Return a new encoder, or several as one, on the CPU: same arguments, same weights.

    Args:
        name: one of `encoders.ENCODERS`.
        input_shape: of one sample.
        embedding: numbers a member's embedding; those of the whole are `members` times as many.
        members: how many; 1 gives an `Encoder`.
        seed: decides the first weights of all of them, one after the other; the first has those of `members` 1.
        **arguments: what else `encoders.build` takes.

    Raises:
        ValueError: when the embeddings of all are too long together, or `encoders.build` refuses.
    """
    whole(name, "members", members)
    whole(name, "members x embedding", members * embedding, most=MOST_EMBEDDING)
    made = [encoders.build(name, input_shape, embedding, seed=each, **arguments) for each in seeds(seed, members)]
    return made[0] if members == 1 else Members(made)


def from_description(description: Mapping[str, Any]) -> Network:
    """Return the encoder or encoders that `describe` told of, with new weights to load the trained ones into.

    Raises:
        ValueError: when `encoders.from_description` refuses.

    Example:
        >>> from_description(build("mlp", (4,), 2, members=3, width=8).describe()).embedding
        6
    """
    entries = dict(description)
    members = entries.pop("members", 1)
    made = [encoders.from_description(entries) for _ in range(whole("the encoder", "members", members))]
    return made[0] if members == 1 else Members(made)


def seeds(seed: int, members: int) -> list[int]:
    """Return a seed for each member; the first is `seed` itself, and more members leave the others as they are."""
    return [seed, *np.random.SeedSequence(seed).generate_state(members - 1).tolist()]


def apart(embeddings: Tensor, members: int) -> tuple[Tensor, ...]:
    """Return each member's own embeddings (n, embedding / members) from those of all in a row (n, embedding)."""
    return (embeddings * math.sqrt(members)).chunk(members, dim=1)
