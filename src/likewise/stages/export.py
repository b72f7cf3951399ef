"""export: embeddings of every sample, a search index and a portable encoder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from likewise import artifacts, files
from likewise.config import Block, run_stage

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]


class IndexParams(Block):
    """How the embeddings are searched."""

    kind: Literal["auto", "flat", "hnsw", "ivf"]
    hnsw_from: int = Field(ge=1)
    ivf_from: int = Field(ge=1)
    recall: float = Field(gt=0, le=1)


class Params(Block):
    """The `export` block of params.yaml."""

    batch_size: int = Field(ge=1)
    index: IndexParams


def run(params: Params, root: Path) -> None:
    """Write the embeddings, the index over them and the ONNX encoder."""
    from likewise import runtime
    from likewise.data.batches import Media
    from likewise.delivery import model, portable
    from likewise.learning.embedding import embed

    runtime.set_up(threads=artifacts.TRAIN.read(root)["params"]["threads"])
    encoder, distance = model.load_trained(root)
    array, offsets = artifacts.read_media(root)
    media = Media(array, offsets, device=runtime.device("cpu"))
    embeddings = embed(encoder, media, np.arange(len(media)), batch_size=params.batch_size).numpy()
    frame = artifacts.SAMPLES.read(root)[["id", "class", "split"]].assign(vector=list(embeddings))
    artifacts.EMBEDDINGS.write(frame, root)
    told = write_index(params.index, embeddings, distance, root)
    content = portable.export(encoder, np.asarray(array[: max(portable.BATCHES)]))
    with artifacts.PORTABLE.writing(root) as path:
        path.write_bytes(content)
    _deliver(root)
    print(f"export: {len(frame):,} embeddings of {embeddings.shape[1]} numbers, {told}, ONNX encoder", flush=True)


def write_index(params: IndexParams, embeddings: Array, distance: str, root: Path) -> str:
    """Write the index over the embeddings and what it finds of the exact answer; return that in a few words."""
    import faiss

    from likewise.delivery import index, searchable

    count = len(embeddings)
    by_size = index.kind_for(count, hnsw_from=params.hnsw_from, ivf_from=params.ivf_from)
    made = index.build(embeddings, distance, by_size if params.kind == "auto" else params.kind)
    recall = index.tune(made, embeddings, distance, wanted=params.recall)
    kind, found = index.kind_of(made), f"recall@{index.NEIGHBOURS} {recall.ten:.2%} of the exact search"
    if recall.ten < params.recall:
        print(f"export: {kind} index: {found}, short of export.index.recall {params.recall:.2%}", flush=True)
        if params.kind == "auto":
            print("export: these embeddings are searched exactly; `export.index.kind` takes another index", flush=True)
            made, recall = index.build(embeddings, distance), index.EXACT
    with artifacts.INDEX.writing(root) as path:
        faiss.write_index(made, str(path))
    artifacts.ABOUT_INDEX.write(searchable.describe(made, recall, distance=distance, root=root), root)
    return "exact index" if recall == index.EXACT else f"{kind} index ({found})"


def _deliver(root: Path) -> None:
    """Put the model beside its embeddings: the folder is then all that a search needs."""
    for name in artifacts.DELIVERED:
        with files.replacing(root / files.EXPORTED_MODEL / Path(name).name) as partial:
            shutil.copyfile(root / name, partial)


if __name__ == "__main__":
    run_stage("export", Params, run)
