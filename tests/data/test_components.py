from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from likewise.data.components import components

LINKS = st.lists(st.tuples(st.sampled_from("abcdefghij"), st.sampled_from("abcdefghij")), max_size=14)


def walked(links: list[tuple[str, str]], start: str) -> set[str]:
    """All that can be reached, a step at a time."""
    found, more = {start}, True
    while more:
        new = {b for a, b in links if a in found} | {a for a, b in links if b in found}
        more, found = not new <= found, found | new
    return found


@given(LINKS)
def test_it_is_the_first_of_all_that_can_be_reached(links: list[tuple[str, str]]) -> None:
    names = {name for link in links for name in link}
    assert components(links) == {name: min(walked(links, name)) for name in names}


@given(LINKS, LINKS)
def test_the_order_and_the_direction_do_not_matter(links: list[tuple[str, str]], more: list[tuple[str, str]]) -> None:
    assert components([*links, *more]) == components([(b, a) for a, b in [*more, *links]][::-1])


def test_what_is_joined_keeps_the_first_name() -> None:
    before = components([("b", "c"), ("f", "g")])
    assert components([("b", "c"), ("f", "g"), ("c", "d"), ("h", "b")])["c"] == before["c"] == "b"
    assert components([("b", "c"), ("f", "g"), ("g", "c")])["f"] == "b"


def test_a_long_chain_is_joined_in_reasonable_time() -> None:
    names = [f"{number:06}" for number in range(100_000)]
    assert set(components(zip(names[::-1], names[-2::-1], strict=False)).values()) == {"000000"}
