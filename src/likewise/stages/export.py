"""export: embeddings of every sample, a search index and a portable encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from likewise import artifacts
from likewise.config import Block, run_stage


class Params(Block):
    """The `export` block of params.yaml."""

    batch_size: int = Field(ge=1)


def run(params: Params, root: Path) -> None:
    """Write the embeddings, the index over them and the ONNX encoder."""
    import faiss

    from likewise import runtime
    from likewise.data.batches import Media
    from likewise.delivery import index, model, portable
    from likewise.learning.embedding import embed

    runtime.set_up(threads=artifacts.TRAIN.read(root)["params"]["threads"])
    encoder, distance = model.load_trained(root)
    samples = artifacts.SAMPLES.read(root)
    array, offsets = artifacts.read_media(root)
    media = Media(array, offsets, device=runtime.device("cpu"))
    embeddings = embed(encoder, media, np.arange(len(media)), batch_size=params.batch_size).numpy()
    frame = samples[["id", "class", "split"]].assign(vector=list(embeddings))
    artifacts.EMBEDDINGS.write(frame, root)
    with artifacts.INDEX.writing(root) as path:
        faiss.write_index(index.build(embeddings, distance), str(path))
    content = portable.export(encoder, np.asarray(array[: max(portable.BATCHES)]))
    with artifacts.PORTABLE.writing(root) as path:
        path.write_bytes(content)
    print(f"export: {len(frame):,} embeddings of {embeddings.shape[1]} numbers, index, ONNX encoder", flush=True)


if __name__ == "__main__":
    run_stage("export", Params, run)
