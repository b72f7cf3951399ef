import pytest

from likewise.evaluation import metrics, wording
from tests.evaluation import judged
from tests.evaluation.judged import few_resamples

__all__ = ["few_resamples"]
pytestmark = pytest.mark.usefixtures("few_resamples")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("tar_at_far_0_1_percent", "True accepts at 0.1 % false accepts"),
        ("detection_rate_at_far_10_percent", "Identified at 10 % false alarms, by val"),
        ("ndcg_at_5", "NDCG at 5"),
        ("recall_at_1", "Recall at 1"),
        ("min_dcf_rare", "Least detection cost (rare)"),
        ("isotonic_ece", "Isotonic: expected calibration error"),
        ("eer_worst", "Equal error rate, worst group"),
        ("false_accept_rate", "False accept rate"),
    ],
)
def test_keys_have_names(key: str, words: str) -> None:
    assert wording.label(key) == words


def test_numbers_that_are_no_shares_are_written_as_numbers() -> None:
    for key in ("auc", "auc_gap", "min_dcf_even", "platt_brier", "beta_cllr", "min_cllr", "nmi", "isotonic_ece"):
        assert wording.figure(key, 0.25) == "0.2500"
    for key in ("eer", "recall_at_1", "purity", "accuracy_worst", "tar_at_far_1_percent"):
        assert wording.figure(key, 0.25) == "25.0 %"
    assert wording.figure("delivered", "platt") == "platt"


def test_every_figure_is_in_the_table_once_with_what_stands_beside_it() -> None:
    of = judged.samples()
    chosen, test = judged.decided(of), judged.trials(of, "test")
    told = metrics.all_metrics(of, judged.trials(of, "val"), test, chosen, judged.asked(slices=["taken in"]))
    found = {section["name"]: section for section in wording.sections(told)}
    assert {"Verification of pairs", "Verification, all pairs", "By group", "By taken_in"} <= set(found)
    rows = {row["label"]: row for row in found["Verification of pairs"]["rows"]}
    eer = told["verification"]["eer"]
    assert rows["Equal error rate"]["value"] == wording.figure("eer", eer)
    assert " to " in rows["Equal error rate"]["interval"]
    assert rows["True accepts at 0.1 % false accepts"]["value"] == "not measurable"
    assert "1,128 trials" in found["Verification of pairs"]["note"]
    assert "960 impostor trials cannot show" in found["Verification of pairs"]["note"]
    worst = {row["label"]: row for row in found["By group"]["rows"]}["Equal error rate, worst group"]
    assert worst["interval"] == told["slices"]["group"]["eer_worst_group"]
    for section in found.values():
        assert all(isinstance(row["value"], str) and "{" not in row["value"] for row in section["rows"])
