"""A model in use: embeddings, a request to the scoring server, a version logged, `likewise compare` as a process.

python -m benchmarks.using
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import evaluation, timing

ROOT = Path(__file__).resolve().parents[1]
THREADS = 2
SAMPLES = 4096
BATCH = 512
CALLS = 50
"""Requests of which a repeat is the median."""
STARTS_WITHIN = 120
"""Seconds."""

Array = np.ndarray[Any, Any]


def project(folder: Path) -> None:
    """Lay out a project of digits whose model is the registry's champion, and two pictures beside it."""
    folder.mkdir()
    evaluation.project(folder)
    for words in (("-m", "likewise.stages.evaluate"), ("-m", "likewise.stages.export"), cli("register")):
        evaluation.run(folder, *words)
    draw = np.random.default_rng(1).integers(0, 256, (2, 28, 28), dtype=np.uint8)
    for name, file in zip(("a.png", "b.png"), png(draw), strict=True):
        (folder / name).write_bytes(file)


def cli(*words: str) -> tuple[str, ...]:
    """Return Python's arguments for a command of ours."""
    return ("-m", "likewise.cli", *words)


def png(pixels: Array) -> list[bytes]:
    """Return images (n, height, width) as encoded files."""
    files = []
    for picture in pixels:
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "PNG")
        files.append(content.getvalue())
    return files


def embedding(folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Time embeddings of images of 28 x 28: arrays, the media of a stage as `export` embeds it, and encoded files."""
    import torch

    import likewise
    from likewise.data.batches import Media
    from likewise.learning.embedding import embed

    torch.set_num_threads(THREADS)
    model = likewise.load(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (SAMPLES, 1, 28, 28), dtype=np.uint8)
    np.save(folder / "media.npy", pixels)
    files, batches = png(pixels[:, 0]), [torch.from_numpy(pixels[n : n + BATCH]) for n in range(0, SAMPLES, BATCH)]

    def forward() -> None:
        with torch.inference_mode():
            for batch in batches:
                model.encoder(batch)

    def exported() -> None:
        media = Media(np.load(folder / "media.npy", mmap_mode="r"), device=torch.device("cpu"))
        embed(model.encoder, media, np.arange(SAMPLES), batch_size=BATCH)

    ways: dict[str, Callable[[], object]] = {
        "likewise.load(...).embed, 28 x 28 arrays": lambda: model.embed(pixels),
        "the embedding of export, 28 x 28": exported,
        "likewise.load(...).embed, 28 x 28 PNG files": lambda: model.embed(files),
    }
    lines = [timing.compare(work, "the bare forward", ours, forward, repeats=repeats) for work, ours in ways.items()]
    return [{**line, "items": SAMPLES} for line in lines]


@contextmanager
def server(folder: Path) -> Iterator[int]:
    """Serve the champion on loopback as docs/using.md says; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", "models:/likewise@champion"]
    running = subprocess.Popen(
        [*command, "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)],
        cwd=folder,
        env=os.environ
        | {
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        give_up = time.monotonic() + STARTS_WITHIN
        while not answers(port):
            if running.poll() is not None or time.monotonic() > give_up:
                raise SystemExit("the scoring server did not start")
            time.sleep(0.2)
        yield port
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait()


def answers(port: int) -> bool:
    """Tell whether the server is up."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False


def served(folder: Path, repeats: int) -> dict[str, Any]:
    """Time a comparison by a request, on a connection that stays open, against a call in this process."""
    import likewise

    model, files = likewise.load(folder), [(folder / name).read_bytes() for name in ("a.png", "b.png")]
    left, right = (base64.b64encode(file).decode() for file in files)
    body = json.dumps({"dataframe_records": [{"left": left, "right": right}], "params": {"task": "compare"}})
    with server(folder) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port)

        def ask() -> None:
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status != 200 or "distance" not in answer.read().decode():
                raise SystemExit("the scoring server refused a comparison")

        turns = [(middle(ask), middle(lambda: model.compare(*files))) for _ in range(repeats)]
    mine, theirs = [turn[0] for turn in turns], [turn[1] for turn in turns]
    ratios = [their / my for my, their in turns]
    return {
        "work": f"scoring server, one comparison of 28 x 28, medians of {CALLS} requests",
        "peer_name": "the same by Model.compare",
        "ours": timing.summary(mine),
        "peer": timing.summary(theirs),
        "ratio": round(float(np.median(theirs) / np.median(mine)), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
    }


def middle(call: Callable[[], object]) -> float:
    """Return the median of the seconds of `CALLS` calls, after some that do not count.

    Without the garbage collection that `timing.seconds` begins with: it empties the processor's caches, which a call
    of milliseconds would have to fill again.
    """
    for _ in range(5):
        call()
    begun = [time.perf_counter()]
    for _ in range(CALLS):
        call()
        begun.append(time.perf_counter())
    return float(np.median(np.diff(begun)))


def logging(folder: Path, repeats: int) -> dict[str, Any]:
    """Time a version put into the registry with run, figures, card, tags and alias, each time under a new name.

    The peer logs and registers the same files into the same run, with no figures, card or tags.
    """
    import mlflow

    import likewise
    from likewise.config import load_params
    from likewise.delivery import signature, tracking
    from likewise.stages import register

    params = register.Params.model_validate(load_params(folder)["register"].model_dump())
    model, numbers = likewise.load(folder), count()
    code = ROOT / "src" / "likewise"

    def ours() -> str:
        done = register.register(params.model_copy(update={"name": f"ours {next(numbers)}"}), folder)
        if not done.created:
            raise SystemExit(f"{done.name}: there was nothing to log")
        return done.run_id

    run = ours()

    def peer() -> None:
        with mlflow.start_run(run):
            mlflow.pyfunc.log_model(
                name="peer",
                registered_model_name=f"peer {next(numbers)}",
                python_model=str(code / "delivery" / "pyfunc.py"),
                artifacts={"model": str(folder / "data" / "export" / "model")},
                code_paths=[str(code)],
                signature=signature.signature_of(model.encoder.embedding),
                input_example=signature.input_example(model.preprocessing),
                pip_requirements=["mlflow"],
            )

    works = "logging a version, with its figures, card and tags", "mlflow.pyfunc.log_model, the model alone"
    with tracking.in_use(tracking.tracking_uri(folder)):
        return timing.compare(*works, ours, peer, repeats=repeats)


def cold(folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Time `likewise compare` as a process, from a folder and from the registry, against imports in one."""

    def run(*words: str) -> Callable[[], None]:
        return lambda: evaluation.run(folder, *words)

    compare = cli("compare", "a.png", "b.png")
    return [
        timing.compare(
            "likewise compare, cold, from a folder",
            "importing torch",
            run(*compare, "--model", "data/export"),
            run("-c", "import torch"),
            repeats=repeats,
        ),
        timing.compare(
            "likewise compare, cold, from the registry",
            "importing mlflow and torch",
            run(*compare),
            run("-c", "import mlflow, torch"),
            repeats=repeats,
        ),
    ]


def main() -> None:
    """Measure, print the figures and write `benchmarks/results/using.json`."""
    parser = argparse.ArgumentParser(description="Time a model in use.")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "project"
        project(folder)
        lines = [
            *embedding(folder, 3 * asked.repeats),
            served(folder, asked.repeats),
            logging(folder, asked.repeats),
            *cold(folder, asked.repeats),
        ]
    about = timing.machine("likewise", "mlflow", "numpy", "pillow", "torch")
    timing.write("using", lines, machine=about, threads=THREADS)


if __name__ == "__main__":
    main()
