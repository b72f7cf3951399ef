import pytest

from likewise.choices import choose, nearest_first


def test_the_nearest_name_comes_first_and_ties_are_alphabetical() -> None:
    assert nearest_first("idk", ["zz", "folder", "idx", "aa"]) == "idx, folder, aa, zz"


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    assert choose("source", "folder", {"folder": 1}) == 1
    with pytest.raises(ValueError, match=r"^unknown source 'foldre'; known: folder, idx$"):
        choose("source", "foldre", {"idx": 1, "folder": 2})
