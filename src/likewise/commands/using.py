"""Commands that use a model: `likewise compare | embed | enrol | identify | search`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likewise.commands import output
from likewise.commands.options import JsonFlag

if TYPE_CHECKING:
    from likewise.delivery.model import Model

ModelOption = Annotated[str, typer.Option("--model", "-m", help="A folder, or an address in the registry.")]
FarOption = Annotated[float | None, typer.Option(help="Decide by the threshold stored for this false-accept rate.")]
Files = Annotated[list[Path], typer.Argument(help="Files, or folders of them.", show_default=False)]
CHAMPION = "models:/likewise@champion"


def compare(
    left: Annotated[Path, typer.Argument(help="One sample: an image, a sound, a sequence or a text.")],
    right: Annotated[Path, typer.Argument(help="The other.")],
    model: ModelOption = CHAMPION,
    far: FarOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell whether two samples are the same, how far they are and how sure that is."""
    answer = _loaded(model).compare(left, right, far=far)
    if as_json:
        output.as_json(asdict(answer))
        return
    facts = {
        "distance": f"{answer.distance:.4f}",
        "score": f"{answer.score:.4f} (same from {answer.threshold:.4f})",
        "probability": f"{answer.probability:.1%}",
    }
    output.as_facts("same" if answer.same else "different", facts, good=answer.same)


def embed(
    samples: Files,
    out: Annotated[Path, typer.Option("--out", "-o", help="A .parquet or .npy file to write.")],
    model: ModelOption = CHAMPION,
    skip: Annotated[bool, typer.Option("--skip", help="Pass over files that cannot be read, and say which.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write the embeddings of samples: ids, names and vectors as Parquet, or vectors as NPY and ids as text."""
    from likewise.commands import given
    from likewise.delivery import vectors

    vectors.check(out)
    listed = given.found(samples)
    loaded = _loaded(model)
    refused = {place: each.refused for place, each in enumerate(listed) if each.refused is not None}
    if skip:
        places = [place for place in range(len(listed)) if place not in refused]
        embeddings, unread = loaded.embed_readable(listed[place].path for place in places)
        refused |= {places[place]: reason for place, reason in unread.items()}
    else:
        embeddings = loaded.embed(given.readable(listed))
    kept = [each for place, each in enumerate(listed) if place not in refused]
    vectors.write(out, [str(each.path) for each in kept], [each.name for each in kept], embeddings)
    skipped = [{"id": str(listed[place].path), "reason": refused[place]} for place in sorted(refused)]
    if as_json:
        told = {"path": str(out), "samples": len(kept), "dimensions": embeddings.shape[1], "skipped": skipped}
        output.as_json(told)
        return
    for each in skipped:
        typer.echo(f"skipped {each['id']}: {each['reason']}", err=True)
    print(f"{out}: {len(kept):,} embeddings of {embeddings.shape[1]} numbers")


def enrol(
    folder: Annotated[Path, typer.Argument(help="A folder with a folder a name, and its samples inside.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .safetensors file to write.")],
    model: ModelOption = CHAMPION,
    as_json: JsonFlag = False,
) -> None:
    """Write a gallery of named samples, in which `identify` and `search` look."""
    from likewise.commands import given

    if out.suffix != ".safetensors":
        raise ValueError(f"{out}: a gallery is a .safetensors file")
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; a gallery has a folder a name, with its samples")
    made = given.gallery(folder, _loaded(model))
    made.save(out)
    if as_json:
        output.as_json({"path": str(out), "samples": len(made), "names": list(made.people)})
        return
    print(f"{out}: {len(made):,} samples of {len(made.people):,} names")


def identify(
    probes: Files,
    gallery: Annotated[
        Path | None,
        typer.Option(
            "--gallery", "-g", help="What `enrol` wrote, or a folder with a folder a name.", show_default=False
        ),
    ] = None,
    model: ModelOption = CHAMPION,
    far: FarOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell who of a gallery each sample is, or that it is nobody."""
    from likewise.commands import given

    if gallery is None:
        raise ValueError("--gallery: say among whom: what `likewise enrol` wrote, or a folder with a folder a name")
    files = given.readable(given.found(probes))
    loaded = _loaded(model)
    answers = loaded.identify_many(files, given.gallery(gallery, loaded), far=far)
    if as_json:
        rows = [{"sample": str(file), **asdict(answer)} for file, answer in zip(files, answers, strict=True)]
        output.as_json({"answers": rows})
        return
    output.as_table(
        ("sample", "who", "nearest", "distance", "probability"),
        [
            (str(file), answer.name or "nobody", answer.id, f"{answer.distance:.4f}", f"{answer.probability:.1%}")
            for file, answer in zip(files, answers, strict=True)
        ],
    )


def search(
    queries: Files,
    gallery: Annotated[
        Path | None,
        typer.Option("--gallery", "-g", help="Where to look; the exported embeddings beside the model by default."),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-k", min=1, help="So many samples for each.")] = 5,
    model: ModelOption = CHAMPION,
    as_json: JsonFlag = False,
) -> None:
    """Show the exported or enrolled samples that are most alike, nearest first."""
    from likewise.commands import given

    files = given.readable(given.found(queries))
    loaded = _loaded(model)
    found = loaded.search_many(files, count, None if gallery is None else given.gallery(gallery, loaded))
    answers = list(zip(files, found, strict=True))
    if as_json:
        rows: list[dict[str, Any]] = [{"sample": str(file), "hits": list(map(asdict, hits))} for file, hits in answers]
        output.as_json({"answers": rows})
        return
    output.as_table(
        ("sample", "place", "id", "name", "distance"),
        [
            (str(file), str(place), hit.id, hit.name or "", f"{hit.distance:.4f}")
            for file, hits in answers
            for place, hit in enumerate(hits, start=1)
        ],
    )


def _loaded(model: str) -> Model:
    from likewise.delivery.loading import load

    return load(model)
