"""Likewise: are these two the same? `likewise.load` gives a trained model that answers."""

from typing import Any

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from likewise.delivery.loading import load

        return load
    raise AttributeError(f"module 'likewise' has no attribute {name!r}")
