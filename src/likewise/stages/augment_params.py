"""What the `train.augment` block of params.yaml may hold: a block a kind of samples; no PyTorch."""

from __future__ import annotations

from pydantic import Field

from likewise.config import Block


class ImageAugment(Block):
    """Strengths of the changes of images, 0 for none."""

    flip: float = Field(ge=0, le=1)
    shift: float = Field(ge=0, le=1)
    rotation: float = Field(ge=0, le=180)
    scale: float = Field(ge=0, le=10)
    shear: float = Field(ge=0, le=80)
    elastic: float = Field(ge=0, le=1)
    brightness: float = Field(ge=0, le=1)
    contrast: float = Field(ge=0, le=10)
    gamma: float = Field(ge=0, le=10)
    blur: float = Field(ge=0, le=20)
    erase: float = Field(ge=0, le=1)


class SoundAugment(Block):
    """Strengths of the changes of sounds, 0 for none."""

    shift: float = Field(ge=0, le=1)
    gain: float = Field(ge=0, le=100)
    noise: float = Field(ge=0, le=100)
    mask_mels: float = Field(ge=0, le=1)
    mask_frames: float = Field(ge=0, le=1)


class SequenceAugment(Block):
    """Strengths of the changes of sequences, 0 for none."""

    warp: float = Field(ge=0, le=10)
    dropout: float = Field(ge=0, le=1)
    rotation: float = Field(ge=0, le=180)
    scale: float = Field(ge=0, le=10)
    jitter: float = Field(ge=0, le=10)


class TextAugment(Block):
    """Strengths of the changes of texts, 0 for none."""

    cut: float = Field(ge=0, le=1)
    dropout: float = Field(ge=0, le=1)


class Augment(Block):
    """The `train.augment` block: one block for the kind of the samples, null for the others."""

    image: ImageAugment | None
    audio: SoundAugment | None
    sequence: SequenceAugment | None
    text: TextAugment | None
