"""export: embeddings of every sample, a search index and a portable encoder."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from likewise import artifacts, files
from likewise.config import Block, run_stage

if TYPE_CHECKING:
    from likewise.data.batches import Media
    from likewise.delivery.variants import Judge
    from likewise.learning.encoders import Network

    Array = np.ndarray[Any, Any]


class IndexParams(Block):
    """How the embeddings are searched."""

    kind: Literal["auto", "flat", "hnsw", "ivf"]
    hnsw_from: int = Field(ge=1)
    ivf_from: int = Field(ge=1)
    recall: float = Field(gt=0, le=1)


class OnnxParams(Block):
    """Which smaller encoders there are, and what judges them."""

    variants: list[Literal["fp16", "int8"]]
    trials: int = Field(ge=2)


class Params(Block):
    """The `export` block of params.yaml."""

    batch_size: int = Field(ge=1)
    index: IndexParams
    onnx: OnnxParams


def run(params: Params, root: Path) -> None:
    """Write the embeddings, the index over them and the ONNX encoders."""
    from likewise import runtime
    from likewise.data.batches import Media
    from likewise.delivery import model
    from likewise.learning.embedding import embed

    runtime.set_up(threads=artifacts.TRAIN.read(root)["params"]["threads"])
    encoder, distance = model.load_trained(root)
    media = Media(*artifacts.read_media(root), device=runtime.device("cpu"))
    embeddings = embed(encoder, media, np.arange(len(media)), batch_size=params.batch_size).numpy()
    frame = artifacts.SAMPLES.read(root)[["id", "class", "split"]].assign(vector=list(embeddings))
    artifacts.EMBEDDINGS.write(frame, root)
    told = write_index(params.index, embeddings, distance, root)
    print(f"export: {len(frame):,} embeddings of {embeddings.shape[1]} numbers, {told}", flush=True)
    judge = judge_of(params, encoder, media, embeddings, distance, root)
    write_encoders(params.onnx, judge, root)
    _deliver(root)


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


def judge_of(params: Params, encoder: Network, media: Media, embeddings: Array, distance: str, root: Path) -> Judge:
    """Return the test pairs, or so many of them as are asked for, with their samples."""
    from likewise.delivery.variants import Judge

    listed = artifacts.PAIRS["test"].read(root)
    drawn = np.random.default_rng(0).permutation(len(listed))[: params.onnx.trials]
    listed = listed.iloc[np.sort(drawn)].reset_index(drop=True)
    every = artifacts.SAMPLES.read(root).reset_index(names="row")
    frame = every[every["id"].isin({*listed["left"], *listed["right"]})].reset_index(drop=True)
    return Judge(encoder, embeddings[frame["row"]], media, frame, listed, distance, params.batch_size)


def write_encoders(params: OnnxParams, judge: Judge, root: Path) -> None:
    """Write the ONNX encoders that can be made, and what each gives on the test pairs."""
    from likewise.delivery import portable, variants

    some = np.arange(min(len(judge.media), max(portable.BATCHES)))
    content = portable.export(judge.encoder, judge.media.gather(some).numpy())
    told = {"fp32": write_encoder(artifacts.PORTABLE, content, judge, root)}
    for name, file in artifacts.VARIANTS.items():
        file.remove(root)
        if name in params.variants:
            try:
                told[name] = write_encoder(file, variants.make(name, content), judge, root)
            except variants.VariantError as error:
                told[name] = {"refused": str(error)}
                print(f"export: {Path(file.path).name}: there is none: {error}", flush=True)
    about = {"split": "test", "trials": len(judge.listed), "samples": len(judge.frame), "encoders": told}
    artifacts.ABOUT_PORTABLE.write(about, root)


def write_encoder(file: files.File, content: bytes, judge: Judge, root: Path) -> dict[str, Any]:
    """Write an ONNX encoder once it is judged, and return what it gives."""
    judged = judge.judge(content)
    with file.writing(root) as path:
        path.write_bytes(content)
    print(
        f"export: {Path(file.path).name}: {judged.bytes / 1e6:.2f} MB, EER {judged.eer:.3%} on {len(judge.listed):,} "
        f"test pairs, embeddings differ by up to {judged.largest_difference:.1g}",
        flush=True,
    )
    return asdict(judged)


def _deliver(root: Path) -> None:
    """Put the model beside its embeddings: the folder is then all that a search needs."""
    for name in artifacts.DELIVERED:
        with files.replacing(root / files.EXPORTED_MODEL / Path(name).name) as partial:
            shutil.copyfile(root / name, partial)


if __name__ == "__main__":
    run_stage("export", Params, run)
