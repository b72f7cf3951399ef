"""A model that was never trained, as files in a folder: made in a moment, for tests that need any model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from likewise import artifacts
from likewise.data import kinds
from likewise.evaluation.calibration import calibrate
from likewise.evaluation.thresholds import Threshold
from likewise.files import Json
from likewise.learning import encoders

KNOWN_FROM = -0.5
"""The score from which a probe is somebody."""


def write_model(folder: Path, *, embedding: int = 8, side: int = 8, width: int = 32) -> Path:
    """Write the three files of a model for square grey pictures into a folder, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder = encoders.build("mlp", (1, side, side), embedding, width=width, seed=3, mean=[128.0], std=[64.0])
    description, weights, calibration = (Path(name).name for name in artifacts.DELIVERED)
    save_file({name: value.contiguous() for name, value in encoder.state_dict().items()}, folder / weights)
    Json(description, artifacts.MODEL.keys).write(
        {
            "format": 2,
            "preprocessing": kinds.build("image", height=side, width=side, channels=1).describe(),
            "encoder": encoder.describe(),
            "distance": "euclidean",
            "weights_sha256": artifacts.file_sha256(folder / weights),
        },
        folder,
    )
    scores, same = np.array([-0.9, -0.7, -0.4, -0.1]), np.array([0, 1, 0, 1])
    threshold = Threshold(KNOWN_FROM, "accuracy", "euclidean", "val", None, 0.5, 0.5, 0.5, 2, 2)
    Json(calibration, artifacts.CALIBRATION.keys).write(
        {
            "distance": "euclidean",
            "threshold": threshold.to_dict(),
            "probability": calibrate(scores, same, distance="euclidean", split="val").to_dict(),
        },
        folder,
    )
    return folder


def picture(seed: int, *, side: int = 8, mean: float = 128.0) -> np.ndarray:
    """Return a picture of noise (side, side)."""
    return np.clip(np.random.default_rng(seed).normal(mean, 60, (side, side)), 0, 255).astype(np.uint8)
