"""What the parts of a very large project would hold, send and compute, by counting."""

from __future__ import annotations

from dataclasses import dataclass

GB = 1e9


@dataclass(frozen=True)
class Project:
    """The size of a project and of the machines it has.

    Args:
        samples: in all.
        classes: to learn.
        gpus: that train.
        embedding: numbers an embedding.
        side: pixels of a square image.
        channels: of it.
        batch: samples a GPU a step.
        weights: of the encoder.
        images_per_second: that one GPU trains on.
        link: bytes a second between GPUs, one way.
        flops: multiplications and additions a second of a GPU.
    """

    samples: int
    classes: int
    gpus: int
    embedding: int
    side: int
    channels: int
    batch: int
    weights: int
    images_per_second: float
    link: float
    flops: float


def gathered(size: float, gpus: int, link: float) -> float:
    """Return the seconds in which each GPU gets the parts of all, by a ring: all but its own part passes each link.

    Example:
        >>> gathered(1e9, 4, 1e9)
        0.75
    """
    return size * (gpus - 1) / gpus / link


def lines(project: Project) -> list[tuple[str, float, str]]:
    """Return what is counted, the number and its unit."""
    p = project
    batch = p.batch * p.gpus
    proxies = 4.0 * p.classes * p.embedding
    step = p.batch / p.images_per_second
    return [
        ("media", p.samples * p.side**2 * p.channels / GB, "GB"),
        ("embeddings, float32", 4 * p.samples * p.embedding / GB, "GB"),
        ("samples a step", batch, ""),
        ("a step, by the encoder alone", 1e3 * step, "ms"),
        ("an epoch", p.samples / batch * step / 60, "minutes"),
        ("the step's embeddings gathered on each GPU, bf16", 2 * batch * p.embedding / GB, "GB"),
        ("the time for it", 1e3 * gathered(2 * batch * p.embedding, p.gpus, p.link), "ms"),
        ("the gradient of the encoder added up, bf16", 1e3 * 2 * gathered(2 * p.weights, p.gpus, p.link), "ms"),
        ("pairs of a step", batch**2, ""),
        ("a GPU's rows of the distance matrix, float32", 4 * p.batch * batch / GB, "GB"),
        ("proxies with both moments of Adam, float32", 3 * proxies / GB, "GB"),
        ("of them on each GPU, split by class", 3 * proxies / p.gpus / GB, "GB"),
        ("logits of a step on each GPU, all classes, float32", 4 * batch * p.classes / p.gpus / GB, "GB"),
        ("the same with a tenth of the classes met", 0.4 * batch * p.classes / p.gpus / GB, "GB"),
        (
            "products of all pairs of samples, on all GPUs",
            p.samples**2 * p.embedding / (p.gpus * p.flops) / 60,
            "minutes",
        ),
    ]
