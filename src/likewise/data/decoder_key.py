"""What decides the rows of a sample besides its content: the preprocessing, the code and the libraries, as one key."""

from __future__ import annotations

import hashlib
import json
import platform
import unicodedata
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from likewise import choices
from likewise.data import cropping, images, kinds, raw, sequence_files, sequences, sounds, spectra, texts
from likewise.data.kinds import Preprocessing

PIXELS = ("libjpeg_turbo", "jpg", "jpg_2000", "zlib", "zlib_ng", "libtiff", "webp", "avif")
"""The libraries inside Pillow that decode, as Pillow names them."""


def decoder_key(preprocessing: Preprocessing) -> str:
    """Return the key of a preprocessing: two that have one key give the same rows for the same content, bit for bit.

    It changes with the options, with the source of the modules that decode, and with the versions of the libraries
    that they use. What it cannot see is a library that was built anew under the same version.
    """
    code, libraries = DECIDING[preprocessing.kind]
    parts = {
        "preprocessing": preprocessing.describe(),
        "row": [preprocessing.dtype, *preprocessing.shape],
        "code": {module.__name__: _source(module) for module in (choices, kinds, raw, *code)},
        "libraries": [name for library in libraries for name in library()],
        "machine": [platform.machine(), platform.python_version(), f"numpy {version('numpy')}"],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _source(module: ModuleType) -> str:
    return hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()


def _pillow() -> list[str]:
    from PIL import features

    return [f"pillow {version('pillow')}", *(f"{name} {features.version(name)}" for name in PIXELS)]


def _sound_libraries() -> list[str]:
    import soundfile

    return [f"libsndfile {soundfile.__libsndfile_version__}", *(f"{n} {version(n)}" for n in ("soundfile", "soxr"))]


def _arrow() -> list[str]:
    return [f"pyarrow {version('pyarrow')}"]


def _unicode() -> list[str]:
    return [f"unicode {unicodedata.unidata_version}"]


DECIDING: dict[str, tuple[Sequence[ModuleType], Sequence[Callable[[], list[str]]]]] = {
    "image": ((images, cropping), (_pillow,)),
    "audio": ((sounds, spectra), (_sound_libraries,)),
    "sequence": ((sequences, sequence_files), (_arrow,)),
    "text": ((texts,), (_unicode,)),
}
"""By kind, the modules that decode besides those of every kind, and what tells the versions of their libraries."""
