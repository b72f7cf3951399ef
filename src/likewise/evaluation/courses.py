"""Charts of how training went: over the epochs, and from layer to layer."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from likewise.evaluation import charts
from likewise.evaluation.charts import Figure

Floats = NDArray[np.float64]


def training_figures(history: pd.DataFrame, layers: pd.DataFrame | None = None) -> list[Figure]:
    """Return the course of each known column that holds at least two values, and of what was seen of the layers.

    Args:
        history: one row an epoch.
        layers: one row a layer and epoch, epoch 0 before training, with the variances of its output and gradient.
    """
    known = [column for column in COURSES if column in history and history[column].notna().sum() > 1]
    flows = [] if layers is None else [_flow(layers, column) for column in FLOWS]
    return [*(_course(history, column) for column in known), *flows]


def _course(history: pd.DataFrame, column: str) -> Figure:
    title, label, caption, is_share = COURSES[column]
    known = history.loc[history[column].notna(), ["epoch", column]]
    epochs, values = known["epoch"].to_numpy(np.float64), known[column].to_numpy(np.float64)
    tops = charts.round_ticks(min(0.0, values.min()), values.max())
    write = charts.rate if is_share else (lambda value: f"{value:.4g}")
    best = int(np.argmin(values))
    return Figure(
        title,
        caption,
        charts.draw(
            [charts.Line(epochs, values, "one")],
            x=charts.Axis("epoch", charts.round_ticks(epochs.min(), epochs.max())),
            y=charts.Axis(label, tops, [write(top) for top in tops]),
            alternative=f"Line chart of {label} over {len(known)} epochs, from {write(values[0])} to "
            f"{write(values[-1])}, lowest in epoch {epochs[best]:.0f} with {write(values[best])}.",
        ),
    )


def _flow(layers: pd.DataFrame, column: str) -> Figure:
    """Return a variance from layer to layer, before training and after it, on a logarithmic axis."""
    title, caption = FLOWS[column]
    known = layers[layers[column].notna()]
    names = list(dict.fromkeys(known["layer"]))
    before, after = (_by_layer(known, column, epoch) for epoch in (0, known["epoch"].max()))
    ticks = _powers(np.concatenate([before, after]))
    numbers = np.arange(1, len(before) + 1)
    floor = ticks[0]
    marks = [
        charts.Line(numbers, np.maximum(before, floor), "one", "before"),
        charts.Line(numbers, np.maximum(after, floor), "two", "after"),
    ]
    return Figure(
        title,
        f"{caption} From {names[0]} to {names[-1]}.",
        charts.draw(
            marks,
            x=charts.Axis("layer", charts.round_ticks(1, max(2, len(before)))),
            y=charts.Axis("variance", ticks, [f"{tick:.0e}" for tick in ticks], np.log10),
            alternative=f"Line chart of the variance in {len(before)} layers: from {before[0]:.2g} in the first to "
            f"{before[-1]:.2g} in the last before training, from {after[0]:.2g} to {after[-1]:.2g} after it.",
        ),
    )


def _by_layer(layers: pd.DataFrame, column: str, epoch: int) -> Floats:
    return layers.loc[layers["epoch"] == epoch, column].to_numpy(np.float64)


def _powers(values: Floats) -> list[float]:
    """Return powers of ten around the values, at most seven; a variance of nought is drawn at the lowest."""
    above = values[values > 0]
    low, high = np.floor(np.log10([above.min(), above.max()])) if above.size else (-1.0, 0.0)
    step = max(1, int(np.ceil((high + 1 - low) / 6)))
    return [float(10.0**power) for power in np.arange(low, high + 1 + step, step)]


COURSES = {
    "loss": ("Training loss", "loss", "The mean loss of each epoch.", False),
    "val_eer": (
        "Equal error rate on val",
        "equal error rate",
        "What training stops by: it is measured on samples that are not trained on.",
        True,
    ),
    "zero_loss_share": (
        "Examples that teach nothing",
        "share with zero loss",
        "The share of pairs or triplets whose loss was nought; near 100 % nothing is left to learn from them.",
        True,
    ),
}
"""Title, axis and caption of each column of the history that has a chart, and whether it is a share."""

FLOWS = {
    "activation_var": (
        "What the layers put out",
        "Variance of each layer's numbers on one batch; where it dwindles or grows from layer to layer, "
        "another initialiser or a norm helps.",
    ),
    "gradient_var": (
        "What comes back to the layers",
        "Variance of the loss's gradient with respect to each layer's output; layers with next to none learn nothing.",
    ),
}
"""Title and caption of each column of the layers that has a chart."""
