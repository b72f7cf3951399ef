from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.evaluation import measures
from likewise.evaluation.measures import MEASURES
from likewise.evaluation.verification import roc_from_trials
from tests.evaluation.test_verification import trials


@given(trials(), st.sampled_from([0.01, 0.1, 0.25, 0.5, 1.0]), st.sampled_from([-2.0, -0.25, 0.0, 0.1, 9.0]))
def test_every_measure_is_the_figure_of_the_roc(given: tuple[Any, Any], far: float, threshold: float) -> None:
    scores, same = given
    roc, genuine = roc_from_trials(scores, same), same == 1
    for name in ("eer", "eer_plain", "auc", "min_cllr"):
        assert MEASURES[name].value(roc) == getattr(roc, name)
    assert MEASURES["min_dcf"].value(roc) == roc.min_dcf()
    assert measures.tar_at_far(far).value(roc) == roc.tar_at_far(far)
    accepted = scores >= threshold
    assert measures.accuracy(threshold).value(roc) == np.mean(accepted == genuine)
    assert measures.false_accept_rate(threshold).value(roc) == np.mean(accepted[~genuine])
    assert measures.false_reject_rate(threshold).value(roc) == np.mean(~accepted[genuine])


@given(trials(), st.sampled_from([0.001, 0.1, 0.3, 1.0]))
def test_tar_answers_even_where_it_is_not_measurable(given: tuple[Any, Any], far: float) -> None:
    scores, same = given
    genuine, impostors = scores[same == 1], scores[same == 0]
    allowed = [t for t in [np.inf, *scores] if np.mean(impostors >= t) <= far]
    expected = max(np.mean(genuine >= t) for t in allowed)
    assert measures.tar_at_far(far).of(roc_from_trials(scores, same)) == expected


def test_which_way_is_better() -> None:
    assert MEASURES["auc"].better(0.9, 0.8)
    assert MEASURES["eer"].better(0.1, 0.2)
    assert not MEASURES["eer"].better(0.1, 0.1)
    perfect, poor = roc_from_trials([0.9, 0.1], [1, 0]), roc_from_trials([0.9, 0.5, 0.4, 0.1], [0, 1, 0, 1])
    known = [*MEASURES.values(), measures.tar_at_far(0.5), measures.accuracy(0.5)]
    known += [measures.false_accept_rate(0.5), measures.false_reject_rate(0.5)]
    for measure in known:
        assert measure.better(measure.of(perfect), measure.of(poor))


@pytest.mark.parametrize("far", [0.0, -0.1, 1.5])
def test_a_rate_that_is_none_is_refused(far: float) -> None:
    with pytest.raises(ValueError, match="false-accept rate lies above 0"):
        measures.tar_at_far(far).value(roc_from_trials([0.9, 0.1], [1, 0]))


@given(trials(), st.sampled_from([0.01, 0.5]), st.sampled_from([-2.0, -0.25, 0.0, 0.1, 9.0]))
def test_a_cost_is_what_errors_cost_over_the_cost_of_one_answer_to_all(
    given: tuple[Any, Any], prior: float, threshold: float
) -> None:
    scores, same = given
    costs = {"prior": prior, "cost_miss": 2.0, "cost_false_accept": 3.0}
    roc = roc_from_trials(scores, same)

    def cost(at: float) -> float:
        far, frr = np.mean(scores[same == 0] >= at), np.mean(scores[same == 1] < at)
        return float((2 * prior * frr + 3 * (1 - prior) * far) / min(2 * prior, 3 * (1 - prior)))

    assert measures.dcf(threshold, costs).value(roc) == pytest.approx(cost(threshold))
    assert measures.min_dcf(costs).value(roc) == pytest.approx(min(cost(at) for at in [np.inf, *scores]))
    assert not measures.min_dcf(costs).larger_is_better
    assert not measures.dcf(threshold, costs).larger_is_better
