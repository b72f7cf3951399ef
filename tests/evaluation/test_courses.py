from xml.etree import ElementTree

import numpy as np
import pandas as pd

from likewise.evaluation.courses import training_figures

HISTORY = pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 0.5], "val_eer": [0.2, 0.1], "zero_loss_share": [None, None]})


def layers(*variances: float) -> pd.DataFrame:
    rows = [
        (epoch, f"layer{place}", variance / (1 + epoch), np.nan if place == 0 else variance * 1e-6)
        for epoch in (0, 1, 2)
        for place, variance in enumerate(variances)
    ]
    return pd.DataFrame(rows, columns=["epoch", "layer", "activation_var", "gradient_var"])


def heights(svg: str) -> list[list[float]]:
    lines = ElementTree.fromstring(svg).findall("polyline")
    return [[float(point.split(",")[1]) for point in line.attrib["points"].split()] for line in lines]


def test_each_column_with_two_values_has_a_course_and_the_layers_two_more() -> None:
    titles = [figure.title for figure in training_figures(HISTORY, layers(1.0, 0.1, 0.01))]
    assert titles == [
        "Training loss",
        "Equal error rate on val",
        "What the layers put out",
        "What comes back to the layers",
    ]
    assert len(training_figures(HISTORY)) == 2


def test_a_variance_that_dwindles_evenly_falls_evenly_on_the_page() -> None:
    figure = training_figures(HISTORY, layers(1.0, 0.1, 0.01))[2]
    before, after = heights(figure.svg)
    falls = np.diff(before)
    assert falls[0] > 20
    assert np.allclose(falls, falls[0], atol=0.2)
    assert np.allclose(np.diff(after), falls, atol=0.2)
    assert after[0] > before[0]
    assert "from 1 in the first to 0.01 in the last before training, from 0.33 to 0.0033 after" in figure.svg
    assert figure.caption.endswith("From layer0 to layer2.")


def test_layers_without_a_gradient_are_left_out_of_its_picture() -> None:
    figure = training_figures(HISTORY, layers(1.0, 0.1, 0.01))[3]
    assert [len(line) for line in heights(figure.svg)] == [2, 2]
    assert figure.caption.endswith("From layer1 to layer2.")


def test_dead_layers_can_be_drawn() -> None:
    for variances in ((1.0, 0.0, 0.0), (0.0, 0.0), (1e30, 1e-30)):
        for figure in training_figures(HISTORY, layers(*variances)):
            assert "nan" not in figure.svg
            assert len(ElementTree.fromstring(figure.svg).attrib["aria-label"]) > 40
