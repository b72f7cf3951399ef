"""ingest: the raw source becomes checked, hashed, split samples and one array of media."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from likewise import artifacts
from likewise.config import legible, named, run_stage
from likewise.data import tables
from likewise.data.checks import Checked, Finding, check, told
from likewise.data.cleaning import DUPLICATE
from likewise.data.folders import refuse_link
from likewise.data.ingestion import Ingested, ingest
from likewise.data.raw import Source
from likewise.data.remote import local
from likewise.data.sources import open_source
from likewise.data.splits import SPELLINGS, assign
from likewise.data.trials import TrialList, read_trials
from likewise.stages import ingest_pairs
from likewise.stages.fetching import shown_on
from likewise.stages.ingest_pairs import Paired
from likewise.stages.ingest_params import Checks, Params, Split
from likewise.stages.reading import counting
from likewise.stages.recall import recalling

OUTPUTS = tuple(
    file.path
    for file in (
        artifacts.MEDIA,
        artifacts.OFFSETS,
        artifacts.SAMPLES,
        artifacts.QUARANTINE,
        artifacts.TRIALS,
        artifacts.GIVEN_PAIRS,
        artifacts.REJECTED_PAIRS,
        artifacts.CLASSES,
        artifacts.SUMMARY,
    )
)


def run(params: Params, root: Path) -> None:
    """Write the samples, their media, the quarantine and the summary."""
    show = shown_on()
    path = local(params.path, root, checksums=params.checksums, show=show)
    listed = read_trials(path, params.trials) if params.trials else None
    source = open_source(params.source, path, checksums=params.checksums, show=show, **options(params))
    if listed:
        listed.refuse_unknown({raw.id for raw in source})
    refuse_missing_column(source, params.split)
    file = read_splits(path, params.split.file) if params.split.file else None
    # A refusal inside leaves no media behind.
    with artifacts.MEDIA.writing(root) as media:
        found = take_in(source, params, media)
        trials = among(listed, found) if listed else None
        paired = ingest_pairs.pair_up(source.pairs, found, params.split, file) if source.pairs else None
        samples = paired.samples if paired else found.samples.assign(split=divide(found, params.split, file, trials))
        findings = check(
            Checked(
                kind=params.kind,
                samples=samples,
                quarantine=found.quarantine,
                stated=stated(found, params.split, file),
                rejected=paired.pairs.rejected if paired else None,
                media=np.load(media, mmap_mode="r"),
                offsets=found.offsets,
                near_bits=params.near_bits,
            ),
            params.checks.model_dump(),
        )
    summary = summed_up(params, found, samples, findings) | beside(trials, paired)
    with artifacts.all_or_none(root, *OUTPUTS):
        ingest_pairs.write(paired, root)
        write(samples, found, trials, summary, root)
    print(describe(summary), flush=True)
    for name, finding in findings.items():
        if finding.count:
            print(f"ingest: {legible(told(name, finding))}", flush=True)


def write(
    samples: pd.DataFrame, found: Ingested, trials: TrialList | None, summary: dict[str, Any], root: Path
) -> None:
    """Write everything but the media and the pairs."""
    artifacts.SAMPLES.write(in_order(samples), root)
    write_trials(trials, root)
    artifacts.write_offsets(found.offsets, root)
    artifacts.QUARANTINE.write(found.quarantine, root)
    train = samples[(samples["split"] == "train") & samples["class"].notna()]
    artifacts.CLASSES.write(train[["id", "class"]], root)
    artifacts.SUMMARY.write(summary, root)


def take_in(source: Source, params: Params, media: Path) -> Ingested:
    """Decode and clean the samples, their media to be written to a file."""
    preprocessing = params.preprocessing()
    with recalling(preprocessing) as cache, counting() as count:
        found = ingest(
            source,
            preprocessing,
            media_path=media,
            min_class=params.min_class,
            refuse_small=params.checks.small_classes == "fail",
            cache=cache,
            progress=count,
        )
    if found.recalled:
        print(f"ingest: {found.recalled:,} of {found.found:,} files were decoded before", flush=True)
    return found


def among(listed: TrialList, found: Ingested) -> TrialList:
    """Return the trials of a list between the samples that were kept."""
    names = found.samples["class"].astype(object)
    classes = dict(zip(found.samples["id"], names.where(names.notna(), None), strict=True))
    left_out = dict(zip(found.quarantine["id"], found.quarantine["reason"], strict=True))
    copies = {name: why.removeprefix(DUPLICATE) for name, why in left_out.items() if why.startswith(DUPLICATE)}
    return listed.among(classes, left_out, copies)


def write_trials(trials: TrialList | None, root: Path) -> None:
    """Write the trials, or take away those of an earlier run where there are none."""
    if trials is None:
        artifacts.TRIALS.remove(root)
        return
    rows = [(trial.left, trial.right, trial.same) for trial in trials.trials]
    frame = pd.DataFrame(rows, columns=["left", "right", "same"])
    artifacts.TRIALS.write(frame.astype({"same": np.int8}), root)


def summed_up(
    params: Params,
    found: Ingested,
    samples: pd.DataFrame,
    findings: Mapping[str, Finding],
) -> dict[str, Any]:
    """Return the summary: what was found, kept and left out, and what the checks found."""
    preprocessing = params.preprocessing()
    return {
        "source": params.source,
        "kind": params.kind,
        "shape": list(preprocessing.shape),
        "preprocessing": preprocessing.describe(),
        "found": found.found,
        "kept": found.found - len(found.quarantine),
        "rows": int(found.offsets[-1]),
        "left_out": {"samples": int((found.left_out > 0).sum()), "bytes": int(found.left_out.sum())},
        "quarantined": reasons(found.quarantine["reason"]),
        "splits": held(samples),
        "checks": reported(findings, params.checks),
    }


def beside(trials: TrialList | None, paired: Paired | None) -> dict[str, Any]:
    """Return for the summary what there is besides samples: listed trials, and pairs."""
    found: dict[str, Any] = {"trials": counted(trials)} if trials else {}
    if paired:
        kept, rejected = paired.pairs.kept, paired.pairs.rejected
        found["pairs"] = {
            "found": len(kept) + len(rejected),
            "kept": len(kept),
            "quarantined": reasons(rejected["reason"]),
            "splits": ingest_pairs.held(kept, paired.samples),
        }
    return found


def counted(trials: TrialList) -> dict[str, int]:
    """Count the trials of a list, the genuine ones and the samples that are named."""
    genuine = sum(trial.same for trial in trials.trials)
    return {"trials": len(trials.trials), "genuine": genuine, "samples": len(trials.ids)}


def options(params: Params) -> dict[str, Any]:
    """Return what the source has to know besides its path."""
    if params.source in ("manifest", "parquet", "pairs", "fsdd", "speech-commands"):
        columns = {"columns": tables.Columns(**params.columns.model_dump())}
        return {"table": params.table, **columns} if params.source in ("manifest", "pairs") else columns
    # The table of splits and the list of trials may lie among the samples, and are none.
    lists = [name for name in (params.split.file, params.trials) if name]
    return {"skip": lists} if params.source == "folder" and lists else {}


def divide(
    found: Ingested, division: Split, file: pd.DataFrame | None, trials: TrialList | None = None
) -> pd.Series[str]:
    """Return the split of each sample that was kept.

    Raises:
        ValueError: when there is no such split, or a sample of the trials is not in test.
    """
    by_column = division.by == "column"
    splits = assign(
        found.samples,
        by=division.by,
        val=division.val,
        test=division.test,
        fold=division.fold,
        hold_out=division.hold_out,
        seed=division.seed,
        given=found.samples[f"{artifacts.CARRIED}{division.column}"].astype("str") if by_column else None,
        file=file,
        ignore=set(found.quarantine["id"]),
        tested=trials.ids if trials else (),
    )
    if trials:
        trials.refuse_seen(dict(zip(found.samples["id"], splits, strict=True)))
    return splits


def stated(found: Ingested, division: Split, file: pd.DataFrame | None) -> dict[str, str] | None:
    """Return the split that a table states for each id, also of what was left out, or None where none does."""
    if file is not None:
        rows = file[["id", "split"]]
    elif division.by == "column" and f"{artifacts.CARRIED}{division.column}" in found.samples:
        column = f"{artifacts.CARRIED}{division.column}"
        rows = pd.concat([frame[["id", column]].astype("str") for frame in (found.samples, found.quarantine)])
    else:
        return None
    names = rows.iloc[:, 1].str.lower().map(SPELLINGS)
    return dict(zip(rows["id"][names.notna()], names.dropna(), strict=True))


def reported(findings: Mapping[str, Finding], modes: Checks) -> dict[str, Any]:
    """Return for the summary what each check is set to, and what it found."""
    return {
        name: {"mode": mode}
        | ({"count": findings[name].count, "examples": list(findings[name].examples)} if name in findings else {})
        for name, mode in modes.model_dump().items()
    }


def refuse_missing_column(source: Source, division: Split) -> None:
    """Check that the source carries the column that says the split, if that is asked for.

    Raises:
        ValueError: it does not; lists those that it carries, the nearest first.
    """
    carried = source.pairs.carried if source.pairs else source.carried
    known = carried.column_names if carried is not None else []
    if division.by == "column" and division.column not in known:
        listed = tables.listed(division.column, known)
        raise ValueError(f"ingest.split.column: the source carries no column {division.column!r}; it carries: {listed}")


def in_order(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the columns in the order of the schema, those that are carried along last."""
    own = artifacts.SAMPLES.types.names
    return samples[[*own, *(column for column in samples.columns if column.startswith(artifacts.CARRIED))]]


def read_splits(folder: Path, name: str) -> pd.DataFrame:
    """Read the CSV in a folder that says which sample is in which split.

    Raises:
        ValueError: when it is missing, outside the folder, or not a table.
    """
    path = folder / name
    with named("ingest.split.file"):
        refuse_link(path, folder)
    try:
        return pd.read_csv(path, dtype=str)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"ingest.split.file: {path}: {error}") from None


def reasons(given: pd.Series[str]) -> dict[str, int]:
    """Count the reasons without their particulars: "duplicate of a/1.png" counts as "duplicate"."""
    short = Counter(re.sub(r"\d+", "N", re.split(r" of | with |: ", reason)[0]) for reason in given)
    return dict(short.most_common())


def held(samples: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count the samples and classes of each split, and the forgeries among the samples where there are any."""
    counts = {
        str(split): {"samples": len(rows), "classes": int(rows["class"].nunique())}
        for split, rows in samples.groupby("split")
    }
    if samples["forges"].notna().any():
        for split, rows in samples.groupby("split"):
            counts[str(split)]["forgeries"] = int(rows["forges"].notna().sum())
    return counts


def describe(summary: dict[str, Any]) -> str:
    """Say what was found, what was left out and why, and what each split holds."""
    left_out = summary["found"] - summary["kept"]
    lines = [f"ingest: {summary['found']:,} found, {summary['kept']:,} kept, {left_out:,} in quarantine"]
    if summary["rows"] > summary["kept"]:
        lines.append(f"ingest: {summary['rows']:,} windows of the {summary['kept']:,} kept")
    cut = summary["left_out"]
    if cut["samples"]:
        # Texts are the only kind of which something is left out.
        length = f"{summary['shape'][0]} bytes (ingest.text.length)"
        lines.append(f"ingest: {cut['samples']:,} texts are longer than {length}: {cut['bytes']:,} bytes are cut off")
    lines += [f"ingest: quarantine: {count:,} {reason}" for reason, count in summary["quarantined"].items()]
    lines += described_pairs(summary["pairs"]) if "pairs" in summary else []
    if "trials" in summary:
        counts = summary["trials"]
        told = f"{counts['trials']:,} as listed, {counts['genuine']:,} of them genuine"
        lines.append(f"ingest: trials: {told}, between {counts['samples']:,} samples")
    for split, counts in summary["splits"].items():
        forged = f", {counts['forgeries']:,} of them forgeries" if "forgeries" in counts else ""
        if "pairs" in summary:
            own = summary["pairs"]["splits"][split]
            held_by = f", {own['pairs']:,} pairs, {own['genuine']:,} of them genuine"
        else:
            held_by = f" of {counts['classes']:,} classes{forged}"
        lines.append(f"ingest: {split}: {counts['samples']:,} samples{held_by}")
    return "\n".join(lines)


def described_pairs(pairs: Mapping[str, Any]) -> list[str]:
    """Say how many pairs were found, and what was left out and why."""
    rejected = pairs["found"] - pairs["kept"]
    told = [f"{count:,} {reason}" for reason, count in pairs["quarantined"].items()]
    return [
        f"ingest: pairs: {pairs['found']:,} found, {pairs['kept']:,} kept, {rejected:,} left out",
        *(f"ingest: pairs left out: {each}" for each in told),
    ]


if __name__ == "__main__":
    run_stage("ingest", Params, run)
