"""Likewise: are these two the same? `likewise.load` gives a trained model that answers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from likewise.delivery.gallery import Gallery as Gallery
    from likewise.delivery.loading import load as load
    from likewise.delivery.model import Model as Model

__all__ = ["Gallery", "Model", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'likewise' has no attribute {name!r}")
    from likewise.delivery import gallery, loading, model

    return {"Gallery": gallery.Gallery, "Model": model.Model, "load": loading.load}[name]
