"""What links join: the connected components of names."""

from __future__ import annotations

from collections.abc import Iterable


def components(links: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return for every name in the links the first, in the order of text, of all that links join with it.

    So a component keeps its name when others are joined to it, unless one of them comes before.

    >>> components([("b", "c"), ("x", "y"), ("c", "a")])
    {'b': 'a', 'c': 'a', 'x': 'x', 'y': 'x', 'a': 'a'}
    """
    above: dict[str, str] = {}
    for one, other in links:
        first, second = sorted((_first(above, one), _first(above, other)))
        above[second] = first
    return {name: _first(above, name) for name in above}


def _first(above: dict[str, str], name: str) -> str:
    """Return the root of a name, and halve the way to it for the next time."""
    above.setdefault(name, name)
    while above[name] != name:
        above[name] = above[above[name]]
        name = above[name]
    return name
