import hashlib
from collections.abc import Sequence
from fractions import Fraction

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from likewise.data import splits
from likewise.data.splits import assign, refuse_leaks


def frame(classes: Sequence[str | None]) -> pd.DataFrame:
    ids = [f"{name}/{number:05d}" for number, name in enumerate(classes)]
    return pd.DataFrame(
        {
            "id": ids,
            "class": pd.array(list(classes), dtype="str"),
            "hash": [hashlib.sha256(name.encode()).hexdigest() for name in ids],
        }
    )


def many(classes: int = 60, each: int = 4) -> pd.DataFrame:
    samples = frame([f"c{number:03d}" for number in range(classes) for _ in range(each)])
    return samples.assign(group=[f"writer {number // 2 % 60}" for number in range(len(samples))])


def oracle(identity: str, *, val: float, test: float, fold: int = 0, seed: int = 0) -> str:
    """The formula as it is written, in fractions."""
    place = Fraction(int(hashlib.sha256(f"{seed}:{identity}".encode()).hexdigest(), 16), 2**256)
    share, turned = Fraction(str(test)), (place + fold * Fraction(str(test))) % 1
    return "test" if turned < share else "val" if turned < share + Fraction(str(val)) else "train"


@pytest.mark.parametrize("by", ["class", "group", "sample"])
@pytest.mark.parametrize("fold", [0, 3])
@pytest.mark.parametrize("seed", [0, 7])
def test_it_is_the_formula(by: str, fold: int, seed: int) -> None:
    samples = many()
    result = assign(samples, by=by, val=0.15, test=0.2, fold=fold, seed=seed)
    identities = samples["id" if by == "sample" else by]
    assert result.tolist() == [oracle(name, val=0.15, test=0.2, fold=fold, seed=seed) for name in identities]
    assert result.name == "split"
    assert result.dtype == "str"


def test_yesterdays_split_is_todays() -> None:
    samples = frame(["a", "a", "b", "b", "c", "d", "d", "d"] * 8)
    first = assign(samples, by="sample", val=0.2, test=0.2).head(8)
    assert first.tolist() == ["test", "val", "train", "train", "val", "train", "train", "train"]


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)


@settings(max_examples=40)
@given(st.lists(names, min_size=1, max_size=30), st.lists(names, max_size=30), st.sampled_from(splits.HASHED))
def test_added_samples_never_move_a_sample(old: list[str], new: list[str], by: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "_refuse_too_small", lambda *args, **options: None)
        every = frame([*old, *new]).assign(group=[name[0] for name in [*old, *new]])
        before = every.iloc[: len(old)]
        after = pd.concat([every.iloc[len(old) :], before])
        assume(before["id"].is_unique)
        assert assign(after, by=by, val=0.3, test=0.3)[len(new) :].tolist() == (
            assign(before, by=by, val=0.3, test=0.3).tolist()
        )


@settings(max_examples=15)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(random: "st.random.Random") -> None:  # type: ignore[name-defined]
    samples = many()
    order = list(range(len(samples)))
    random.shuffle(order)
    result = assign(samples.iloc[order], by="class", val=0.2, test=0.2)
    pd.testing.assert_series_equal(result.sort_index(), assign(samples, by="class", val=0.2, test=0.2))


@pytest.mark.parametrize(("test", "folds"), [(0.2, 5), (0.25, 4), (0.1, 10), (0.333, 3), (1 / 3, 3), (0.5, 2)])
@pytest.mark.parametrize("by", splits.HASHED)
def test_folds_partition_the_identities(test: float, folds: int, by: str) -> None:
    samples = many(400, 2).assign(group=[f"g{number // 3}" for number in range(800)])
    tested = [assign(samples, by=by, val=0.2, test=test, fold=fold) == "test" for fold in range(folds)]
    assert (pd.concat(tested, axis=1).sum(axis=1) == 1).all()
    with pytest.raises(ValueError, match=f"makes folds 0 to {folds - 1}$"):
        assign(samples, by=by, val=0.2, test=test, fold=folds)


@pytest.mark.parametrize("by", splits.HASHED)
def test_groups_held_out_are_the_test_part_and_the_rest_is_divided_by_hash(by: str) -> None:
    samples = many().assign(group=[f"alphabet {number // 60}" for number in range(240)])
    held_out = ["alphabet 3", "alphabet 1"]
    result = assign(samples, by=by, val=0.4 if by == "group" else 0.3, test=0.2, seed=2, hold_out=held_out)
    for name, group, split in zip(samples["id" if by == "sample" else by], samples["group"], result, strict=True):
        place = Fraction(int(hashlib.sha256(f"2:{name}".encode()).hexdigest(), 16), 2**256)
        rest = "val" if place < Fraction(4 if by == "group" else 3, 10) else "train"
        assert split == ("test" if group in held_out else rest)
    assert result.dtype == "str"
    assert set(result) == set(splits.NAMES)


@pytest.mark.parametrize("by", splits.HASHED)
def test_what_trials_name_is_of_test_with_all_that_is_kept_with_it(by: str) -> None:
    samples = many()
    tested = samples["id"][[0, 9, 131]].tolist()
    before = assign(samples, by=by, val=0.2, test=0.2)
    after = assign(samples, by=by, val=0.2, test=0.2, tested=tested)
    identities = samples["id" if by == "sample" else by]
    moved = identities.isin(identities[[0, 9, 131]])
    assert (after[moved] == "test").all()
    assert (before[moved] != "test").any()
    pd.testing.assert_series_equal(after[~moved], before[~moved])


def test_with_trials_a_test_part_needs_no_pairs_of_its_own() -> None:
    samples = many(classes=8, each=6)
    found = assign(samples, by="class", val=0.3, test=0.001, tested=["c000/00000"])
    assert (found == "test").equals(samples["class"] == "c000")
    with pytest.raises(ValueError, match="test too small"):
        assign(samples, by="class", val=0.3, test=0.001)
    with pytest.raises(ValueError, match="train and val too small"):
        assign(samples, by="class", val=0.3, test=0.001, tested=samples["id"].tolist()[:-6])


def test_samples_without_a_group_are_not_held_out() -> None:
    samples = many()
    samples.loc[:99, "group"] = None
    held_out = sorted(samples["group"].dropna().unique())[:20]
    result = assign(samples, by="sample", val=0.3, test=0.2, hold_out=held_out)
    assert (result == "test").equals(samples["group"].isin(held_out))


def test_groups_that_cannot_be_held_out_are_refused() -> None:
    samples = many().assign(group=[f"alphabet {number // 60}" for number in range(240)])
    with pytest.raises(ValueError, match=r"unknown group in ingest\.split\.hold_out: 'alphabet3'; known: alphabet 3, "):
        assign(samples, by="class", val=0.3, test=0.2, hold_out=["alphabet 0", "alphabet3"])
    with pytest.raises(ValueError, match="hold_out names the test groups itself: fold: 2 does not go with it"):
        assign(samples, by="class", val=0.3, test=0.2, fold=2, hold_out=["alphabet 0"])
    with pytest.raises(ValueError, match="hold_out names the test groups itself: by: column does not go with it"):
        assign(samples, by="column", val=0.3, test=0.2, hold_out=["alphabet 0"])
    shared = samples.assign(group=[f"alphabet {number % 4}" for number in range(240)])
    with pytest.raises(ValueError, match="60 values of class are in two splits"):
        assign(shared, by="class", val=0.3, test=0.2, hold_out=["alphabet 0"])


def test_shares_are_near_what_was_asked_and_classes_stay_on_one_side() -> None:
    samples = many(4000, 2)
    result = assign(samples, by="class", val=0.1, test=0.25)
    assert result.value_counts(normalize=True).to_dict() == pytest.approx(
        {"train": 0.65, "test": 0.25, "val": 0.1}, abs=0.03
    )
    assert (result.groupby(samples["class"]).nunique() == 1).all()


def test_seeds_differ() -> None:
    samples = many(200)
    first, second = (assign(samples, by="class", val=0.2, test=0.2, seed=seed) for seed in (0, 1))
    assert not first.equals(second)


def test_the_index_is_the_samples() -> None:
    samples = many().set_index(pd.Index(range(1000, 1240)))
    assert assign(samples, by="sample", val=0.2, test=0.2).index.equals(samples.index)


@pytest.mark.parametrize(
    ("val", "test", "message"),
    [
        (0.0, 0.2, r"ingest\.split\.val is 0\.0: it must be above 0 and below 1"),
        (0.2, -0.1, r"ingest\.split\.test is -0\.1: it must be above 0 and below 1"),
        (0.2, 1.0, r"ingest\.split\.test is 1\.0"),
        (float("nan"), 0.2, r"ingest\.split\.val is nan"),
        (0.5, 0.5, r"ingest\.split\.val 0\.5 and ingest\.split\.test 0\.5 leave nothing for train"),
    ],
)
def test_shares_that_cannot_be_are_refused(val: float, test: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assign(many(), by="class", val=val, test=test)


def test_folds_that_cannot_be_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"ingest\.split\.fold is 1: folds need an ingest\.split\.test of 1/k .* 0\.15"
    ):
        assign(many(), by="class", val=0.2, test=0.15, fold=1)
    with pytest.raises(ValueError, match=r"ingest\.split\.fold is -1: .* makes folds 0 to 4"):
        assign(many(), by="class", val=0.2, test=0.2, fold=-1)
    with pytest.raises(
        ValueError, match="fold is 1: there are folds only of a split by class, group, sample, not by column"
    ):
        assign(many(), by="column", val=0.2, test=0.2, fold=1)


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown way to split 'clas'; known: class, "):
        assign(many(), by="clas", val=0.2, test=0.2)


def test_samples_without_a_class_are_not_split_by_class() -> None:
    with pytest.raises(ValueError, match=r"None/00002 have no class: split by sample"):
        assign(frame(["a", "a", None]), by="class", val=0.2, test=0.2)


@pytest.mark.parametrize(
    ("classes", "by", "message"),
    [
        (
            ["a", "b"] * 3,
            "class",
            r"^val and test too small: .*; raise ingest\.split\.val and ingest\.split\.test, add",
        ),
        (["a"] * 90, "sample", r"^train and val and test too small: .*; lower ingest\.split\.val and ingest"),
    ],
)
def test_a_split_too_small_is_refused(classes: list[str], by: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assign(frame(classes), by=by, val=0.2, test=0.2)


def test_the_refusal_of_a_small_test_counts_and_says_which_key_to_change() -> None:
    samples = many(10)
    with pytest.raises(ValueError, match="too small") as caught:
        assign(samples, by="class", val=0.3, test=0.05)
    assert str(caught.value) == (
        "test too small: pairs need two classes with two samples each, and this split has "
        "train 16 samples of 4 classes, val 20 samples of 5 classes, test 4 samples of 1 classes; "
        "raise ingest.split.test, add data, or try another ingest.split.seed"
    )


def test_by_group_no_group_is_on_both_sides() -> None:
    samples = many()
    result = assign(samples, by="group", val=0.2, test=0.2)
    assert (result.groupby(samples["group"]).nunique() == 1).all()
    assert (result.groupby(samples["class"]).nunique() > 1).any()


def forged(samples: pd.DataFrame) -> pd.DataFrame:
    """Every fourth sample of the frame as a forgery of its class."""
    fake = pd.Series([number % 4 == 3 for number in range(len(samples))])
    return samples.assign(**{"class": samples["class"].mask(fake), "forges": samples["class"].where(fake)})


def test_by_class_a_forgery_goes_with_the_class_that_it_imitates() -> None:
    samples = many()
    expected = assign(samples, by="class", val=0.2, test=0.2)
    pd.testing.assert_series_equal(assign(forged(samples), by="class", val=0.2, test=0.2), expected)
    split = expected.where(expected.index != 3, "val" if expected[3] != "val" else "test")
    with pytest.raises(ValueError, match="1 values of class are in two splits"):
        refuse_leaks(forged(samples), split, by="class")


def test_by_group_a_forgery_is_of_a_group_of_its_class() -> None:
    samples = many().assign(group=[f"writer {number // 8}" for number in range(240)])
    result = assign(forged(samples), by="group", val=0.2, test=0.2)
    pd.testing.assert_series_equal(result, assign(samples, by="group", val=0.2, test=0.2))
    with pytest.raises(
        ValueError, match=r"1 forgeries are of a group .* such as c000/00003 \(group elsewhere, class c000"
    ):
        assign(
            forged(samples.assign(group=samples["group"].where(samples.index != 3, "elsewhere"))),
            by="group",
            val=0.2,
            test=0.2,
        )


def test_forgeries_are_no_samples_of_a_split_too_small() -> None:
    samples = many(classes=40, each=2)
    assign(samples, by="class", val=0.2, test=0.2)
    fake = samples.assign(
        **{
            "class": samples["class"].mask(samples.index % 2 == 1),
            "forges": samples["class"].where(samples.index % 2 == 1),
        }
    )
    with pytest.raises(ValueError, match="train and val and test too small"):
        assign(fake, by="class", val=0.2, test=0.2)


def test_by_group_every_sample_needs_one() -> None:
    samples = many()
    samples.loc[[3, 8], "group"] = None
    with pytest.raises(
        ValueError, match=r"^2 of 240 samples have no group \(c000/00003, c002/00008\): .*ingest\.columns\.group"
    ):
        assign(samples, by="group", val=0.2, test=0.2)
    with pytest.raises(ValueError, match=r"and 237 more\): a table names it"):
        assign(samples.assign(group=None), by="group", val=0.2, test=0.2)


def column(val_given: bool = False) -> tuple[pd.DataFrame, "pd.Series[str]"]:
    names = ["Test" if number % 5 == 0 else "train" for number in range(400)]
    if val_given:
        names = ["validation" if number % 5 == 1 else name for number, name in enumerate(names)]
    return frame([f"c{number % 7}" for number in range(400)]), pd.Series(names, dtype="str")


def test_by_column_test_stays_and_val_comes_of_train() -> None:
    samples, stated = column()
    result = assign(samples, by="column", val=0.25, test=0.2, seed=3, given=stated)
    assert (result[stated == "Test"] == "test").all()
    train = samples[stated == "train"]
    drawn = {name for name in train["id"] if oracle(name, val=0.2, test=0.25, seed=3) == "test"}
    assert set(samples["id"][result == "val"]) == drawn
    assert len(drawn) / len(train) == pytest.approx(0.25, abs=0.05)


def test_by_column_a_given_val_is_kept_and_common_spellings_are_known() -> None:
    samples, stated = column(val_given=True)
    result = assign(samples, by="column", val=0.25, test=0.2, given=stated)
    assert result.tolist() == stated.replace({"Test": "test", "validation": "val"}).tolist()
    assert result.dtype == "str"


def test_by_column_every_sample_needs_a_split() -> None:
    samples, stated = column()
    with pytest.raises(ValueError, match=r"split by column needs the split of each sample"):
        assign(samples, by="column", val=0.2, test=0.2)
    stated[[3, 8, 9, 11, 12]] = None
    with pytest.raises(
        ValueError, match=r"split\.column is empty for 5 of 400 samples \(c3/00003, c1/00008, c2/00009 and 2 more\)"
    ):
        assign(samples, by="column", val=0.2, test=0.2, given=stated)
    with pytest.raises(ValueError, match=r"unknown splits left: known are train, training, val, "):
        assign(samples, by="column", val=0.2, test=0.2, given=pd.Series(["left"] * 400))
    with pytest.raises(
        ValueError, match=r"val and test too small: .* change the split column \(ingest\.split\.column\)"
    ):
        assign(samples, by="column", val=0.001, test=0.2, given=pd.Series(["train"] * 400))
    with pytest.raises(ValueError, match=r"^val too small: .* raise ingest\.split\.val"):
        assign(samples, by="column", val=0.001, test=0.2, given=column()[1])


def table(samples: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"id": samples["id"], "split": ["train", "val", "test"] * (len(samples) // 3)})


def test_by_file_every_sample_takes_its_row() -> None:
    samples = many()
    listed = table(samples)
    result = assign(samples, by="file", val=0.2, test=0.2, file=listed.sample(frac=1, random_state=1))
    assert result.tolist() == listed["split"].tolist()


def test_by_file_wrong_tables_are_refused() -> None:
    samples = many()
    listed = table(samples)

    def split(file: pd.DataFrame | None, **options: object) -> None:
        assign(samples, by="file", val=0.2, test=0.2, file=file, **options)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match=r'needs a table with the columns "id" and "split"'):
        split(None)
    with pytest.raises(ValueError, match=r'needs a table with the columns "id" and "split"'):
        split(listed[["id"]])
    with pytest.raises(
        ValueError, match=r"4 ids have no row in the split file: c000/00000, .*00001, .*00002 and 1 more"
    ):
        split(listed[4:])
    with pytest.raises(ValueError, match=r"1 ids are named twice in the split file: c000/00000$"):
        split(pd.concat([listed, listed[:1]]))
    stranger = pd.DataFrame({"id": ["x/1.png"], "split": ["test"]})
    with pytest.raises(ValueError, match=r"1 ids are in the split file and not among the samples: x/1\.png"):
        split(pd.concat([listed, stranger]))
    split(pd.concat([listed, stranger]), ignore={"x/1.png"})
    with pytest.raises(ValueError, match="unknown splits right: known are train, "):
        split(listed.replace({"val": "right"}))
    with pytest.raises(ValueError, match=r"train and val too small: .* change the split file \(ingest\.split\.file\)"):
        split(listed.assign(split="test"))


def test_a_leak_is_refused() -> None:
    samples = many()
    hashes = samples["hash"].tolist()
    samples["hash"] = [hashes[0], hashes[0], *hashes[2:]]
    with pytest.raises(ValueError, match="1 values of hash are in two splits: samples c000/00000, c000/00001"):
        assign(samples, by="file", val=0.2, test=0.2, file=table(samples))
    clean = many()
    refuse_leaks(clean, table(clean)["split"], by="sample")
    with pytest.raises(ValueError, match=r"60 values of class are in two splits: samples .* and 237 more"):
        refuse_leaks(clean, table(clean)["split"], by="class")
    with pytest.raises(ValueError, match=r"60 values of group are in two splits"):
        refuse_leaks(clean, table(clean)["split"], by="group")
