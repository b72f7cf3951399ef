"""Which charts the report shows, and the plain tables behind them."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from likewise.evaluation import charts, courses
from likewise.evaluation.calibration import Calibration, reliability
from likewise.evaluation.charts import Figure
from likewise.evaluation.checks import Values, as_trials, as_vector
from likewise.evaluation.curves import Roc
from likewise.evaluation.thresholds import Threshold

Floats = NDArray[np.float64]

# The rates that a detection error trade-off is marked at.
DET = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4)
RATES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def all_figures(
    roc: Roc,
    scores: Values,
    same: Values,
    *,
    threshold: Threshold,
    history: pd.DataFrame,
    layers: pd.DataFrame | None = None,
    calibration: Calibration | None = None,
) -> list[Figure]:
    """Return the figures of an evaluation, in the order of the page; `roc` is that of the scores."""
    figures = [_roc(roc, threshold), _scores(scores, same, threshold)]
    if roc.eer_plain > 0:
        figures.append(_det(roc, threshold))
    if calibration is not None:
        figures.append(_reliability(scores, same, calibration))
    return [*figures, *courses.training_figures(history, layers)]


def roc_table(roc: Roc, *, points: int = 500) -> pd.DataFrame:
    """Return FAR and TAR of the ROC, at most `points` rows with both ends, for a plot.

    Rows are equally far apart along the curve, so its corners stay.
    """
    kept = _thinned(roc, points)
    return pd.DataFrame({"far": roc.far[kept], "tar": roc.tar[kept]})


def det_table(roc: Roc, *, points: int = 500) -> pd.DataFrame:
    """Return FAR and FRR of the ROC with the deviates of both, at most `points` rows, for a plot on probit axes.

    Rows are equally far apart along the curve. Rates of nought and one, which have no deviate, are left out.
    """
    from scipy.special import ndtri

    inside = np.flatnonzero((roc.false_accepts > 0) & (roc.far < 1) & (roc.true_accepts > 0) & (roc.frr > 0))
    far, frr = roc.far[inside], roc.frr[inside]
    x, y = ndtri(far), ndtri(frr)
    kept = _spaced(np.append(0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))), points) if far.size else inside
    return pd.DataFrame({"far": far[kept], "frr": frr[kept], "far_deviate": x[kept], "frr_deviate": y[kept]})


def reliability_table(scores: Values, same: Values, calibration: Calibration) -> pd.DataFrame:
    """Return for each bin of probability its mean, the share of its trials that is genuine, and how many there are."""
    table = pd.DataFrame(reliability(calibration.probability(as_vector(scores, name="scores")), same))
    return table.astype({"trials": np.int64})


def score_histogram(scores: Values, same: Values, *, bins: int = 50) -> pd.DataFrame:
    """Return the share of genuine and of impostor trials in equally wide bins, by the bins' middles."""
    edges, genuine, impostor = _histogram(scores, same, bins=bins)
    return pd.DataFrame({"score": (edges[1:] + edges[:-1]) / 2, "genuine": genuine, "impostor": impostor})


def percent(share: float | None) -> str:
    """Return a share in per cent with one more digit where it is near 0 or 1.

    >>> percent(0.9731), percent(0.0042), percent(1.0), percent(None)
    ('97.3 %', '0.42 %', '100 %', 'not measurable')
    """
    if share is None:
        return "not measurable"
    if share in (0, 1):
        return f"{share * 100:.0f} %"
    # A rounded share must not read as certainty.
    digits = 1 if 0.01 <= share <= 0.99 else 2
    return f"{min(max(share * 100, 0.01), 99.99):.{digits}f} %"


def _roc(roc: Roc, threshold: Threshold) -> Figure:
    least = 10.0 ** np.floor(np.log10(min(roc.least_far, 0.01)) + 1e-9)
    ticks = [float(f"{least * 10**power:.6g}") for power in range(round(-np.log10(least)) + 1)]
    x = charts.Axis("false accepts", ticks, [charts.rate(tick) for tick in ticks], np.log10)
    y = charts.Axis("true accepts", RATES, [charts.rate(tick) for tick in RATES])
    vertex = roc.vertex(threshold.value)
    point = charts.Point(float(roc.far[vertex]), float(roc.tar[vertex]), "threshold")
    alternative = (
        f"Line chart of true accepts over false accepts. Area under the ROC {roc.auc:.4f}; at the threshold "
        f"{percent(roc.tar[vertex])} true accepts and {percent(roc.far[vertex])} false accepts."
    )
    return Figure(
        "Receiver operating characteristic",
        "How many genuine pairs are accepted for the impostors that slip in; the upper left is best.",
        charts.draw([charts.Line(roc.far, roc.tar, "one"), point], x=x, y=y, alternative=alternative),
    )


def _scores(scores: Values, same: Values, threshold: Threshold) -> Figure:
    edges, genuine, impostor = _histogram(scores, same, bins=40)
    x = charts.Axis(f"score ({threshold.distance} distance)", charts.round_ticks(edges[0], edges[-1]))
    tops = charts.round_ticks(0, max(genuine.max(), impostor.max()))
    marks: list[charts.Mark] = [
        charts.Bars(edges, genuine, "one", "genuine"),
        charts.Bars(edges, impostor, "two", "impostor"),
        charts.Rule(threshold.value, "threshold"),
    ]
    alternative = (
        f"Histogram of the scores of genuine and impostor pairs from {edges[0]:.3g} to {edges[-1]:.3g}, "
        f"with the threshold at {threshold.value:.4g}."
    )
    y = charts.Axis("share of the pairs", tops, [charts.rate(top) for top in tops])
    return Figure(
        "Scores",
        "The less the two heaps overlap, the better; what lies on the wrong side of the line is an error.",
        charts.draw(marks, x=x, y=y, alternative=alternative),
    )


def _det(roc: Roc, threshold: Threshold) -> Figure:
    from scipy.special import ndtri

    names = [charts.rate(tick) for tick in DET]
    x, y = (charts.Axis(label, DET, names, ndtri) for label in ("false accepts", "false rejects"))
    seen, vertex = (roc.far <= DET[-1]) & (roc.frr <= DET[-1]), roc.vertex(threshold.value)
    marks: list[charts.Mark] = [
        charts.Line(roc.far[seen], roc.frr[seen], "one"),
        charts.Line(DET, DET, "thin"),
        charts.Point(float(roc.far[vertex]), float(roc.frr[vertex]), "threshold"),
    ]
    return Figure(
        "Detection error trade-off",
        "False rejects over false accepts on probit axes; the lower left is best, the diagonal is where they "
        "are equal.",
        charts.draw(
            marks,
            x=x,
            y=y,
            alternative=f"Line chart of false rejects over false accepts; they are equal at {percent(roc.eer_plain)}.",
        ),
    )


def _reliability(scores: Values, same: Values, calibration: Calibration) -> Figure:
    table = reliability(calibration.probability(as_vector(scores, name="scores")), same)
    names = [charts.rate(tick) for tick in RATES]
    marks = [charts.Line([0, 1], [0, 1], "thin"), charts.Line(table["probability"], table["genuine"], "one dots")]
    pairs = zip(table["probability"], table["genuine"], strict=True)
    return Figure(
        "Reliability",
        f"Of the pairs given a probability, the share that is genuine ({calibration.method} calibration, fitted on "
        f"{calibration.split}); on the diagonal the probability means what it says.",
        charts.draw(
            marks,
            x=charts.Axis("probability of the same class", RATES, names),
            y=charts.Axis("share that is genuine", RATES, names),
            alternative="Line chart of the share genuine over the probability given: "
            + ", ".join(f"{charts.rate(given)} is {charts.rate(true)}" for given, true in pairs),
        ),
    )


def _histogram(scores: Values, same: Values, *, bins: int) -> tuple[Floats, Floats, Floats]:
    score, genuine = as_trials(scores, same)
    edges = np.histogram_bin_edges(score, bins=bins)
    shares = [np.histogram(score[kind], bins=edges)[0] / kind.sum() for kind in (genuine, ~genuine)]
    return edges, shares[0], shares[1]


def _thinned(roc: Roc, points: int) -> NDArray[np.intp]:
    return _spaced(np.cumsum(np.append(0.0, np.diff(roc.far) + np.diff(roc.tar))), points)


def _spaced(way: Floats, points: int) -> NDArray[np.intp]:
    """Return where a way that rises from 0 passes evenly spaced marks."""
    wanted = np.searchsorted(way, np.linspace(0, way[-1], points))
    return np.unique(np.minimum(wanted, way.size - 1))
