import os
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]


def real(name: str) -> Path:
    """The folder of a real data set (mnist, orl-faces, omniglot); the test is skipped where it is absent."""
    shared = Path(os.environ.get("LIKEWISE_DATA", PROJECT.parent / "shared" / "data"))
    if not (shared / name).is_dir():
        pytest.skip(f"no real data in {shared / name}: set LIKEWISE_DATA to the folder that holds {name}")
    return shared / name
