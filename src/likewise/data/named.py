"""Public data sets by name: a copy that is there already, or the published files, fetched and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from likewise.data.arrays import open_idx
from likewise.data.downloads import (
    CACHE,
    MIRROR,
    Download,
    NotFetched,
    Show,
    check_copies,
    check_names,
    downloads_folder,
    mirrored,
    retrieve,
    unseen,
)
from likewise.data.folders import passed_over
from likewise.data.raw import Raw, Source

MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist"
FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
OMNIGLOT = "https://github.com/brendenlake/omniglot/raw/master/python"

# The checksums are not ours. TensorFlow Datasets 4.9.10 publishes all those of SHA-256 (torchaudio 2.11 the one of
# Speech Commands too), Idiap's bob.bio.face the MD5 of the faces. torchvision 0.29.1's MD5 sums are of the same files:
# docs/formats.md says which could be compared with real copies.
FILES: dict[str, tuple[Download, ...]] = {
    "omniglot": (
        Download(
            f"{OMNIGLOT}/images_background.zip",
            9_464_212,
            "sha256:ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
        ),
        Download(
            f"{OMNIGLOT}/images_evaluation.zip",
            6_462_886,
            "sha256:1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
        ),
    ),
    "omniglot-small1": (
        Download(
            f"{OMNIGLOT}/images_background_small1.zip",
            1_319_022,
            "sha256:f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4",
        ),
    ),
    "omniglot-small2": (
        Download(
            f"{OMNIGLOT}/images_background_small2.zip",
            1_580_917,
            "sha256:3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f",
        ),
    ),
    "mnist": (
        Download(
            f"{MNIST}/train-images-idx3-ubyte.gz",
            9_912_422,
            "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        Download(
            f"{MNIST}/train-labels-idx1-ubyte.gz",
            28_881,
            "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        Download(
            f"{MNIST}/t10k-images-idx3-ubyte.gz",
            1_648_877,
            "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        Download(
            f"{MNIST}/t10k-labels-idx1-ubyte.gz",
            4_542,
            "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ),
    "fashion-mnist": (
        Download(
            f"{FASHION}/train-images-idx3-ubyte.gz",
            26_421_880,
            "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        Download(
            f"{FASHION}/train-labels-idx1-ubyte.gz",
            29_515,
            "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        Download(
            f"{FASHION}/t10k-images-idx3-ubyte.gz",
            4_422_102,
            "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        Download(
            f"{FASHION}/t10k-labels-idx1-ubyte.gz",
            5_148,
            "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    "orl-faces": (
        Download(
            "http://www.idiap.ch/software/bob/data/bob/att_faces.zip",
            None,
            "md5:6efb25cb0d40755e9492b9c012e3348d",
        ),
    ),
    "fsdd": (
        Download(
            "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.9.tar.gz",
            11_975_353,
            "sha256:8bc44cde129d505cbbb6b365c09f80c663f2aa77578afc634e6141a2f87100c0",
        ),
    ),
    "speech-commands": (
        Download(
            "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
            2_428_923_189,
            "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        ),
    ),
}
"""What is fetched for each data set."""

LISTS = (".csv", ".tsv", ".txt")

GARMENTS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""What Fashion-MNIST's labels 0 to 9 mean."""


def at_hand(name: str, path: Path, *, checksums: Mapping[str, str], show: Show = unseen) -> Path:
    """Return where the data set `name` lies: at `path` if there is anything, else in the cache, fetched if need be.

    Args:
        name: A name in `FILES`.
        path: A copy of the data set, or a folder with nothing in it but what is no data, such as a README or a list.
        checksums: For files by name, what they must have instead of what is published.
        show: Shows how far a download is.

    Returns:
        The path, or the one file of the data set, or the folder of its files.

    Raises:
        ValueError: no such path, a file that cannot be fetched (how to come by it is said), or another checksum.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist: put the data there, or give an empty folder to have {name} fetched")
    if not path.is_dir() or any(map(_counts, path.iterdir())):
        check_copies(path, checksums)
        return path
    files = FILES[name]
    check_names(checksums, [file.name for file in files])
    folder = downloads_folder() / name
    for file in files:
        _fetch(name, file, folder, checksums.get(file.name, file.checksum), path, show)
    return folder / files[0].name if len(files) == 1 else folder


def _counts(entry: Path) -> bool:
    """Say whether an entry of a folder may be a copy: lists of splits or trials may lie beside what is fetched."""
    return not passed_over(entry.name) and entry.suffix.lower() not in LISTS


def _fetch(name: str, file: Download, folder: Path, checksum: str, path: Path, show: Show) -> None:
    size = file.size if checksum == file.checksum else None
    url = mirrored(file.url, f"{name}/{file.name}")
    try:
        retrieve(url, folder / file.name, checksum=checksum, size=size, show=show)
    except NotFetched as error:
        listed = ", ".join(each.name for each in FILES[name])
        raise ValueError(
            f"{name}: {error}; put {listed} into {path} by hand, or set {MIRROR} to an http(s) address that has "
            f"{name}/{file.name} (fetched files are kept in {folder}; {CACHE} moves that)"
        ) from None


def open_fashion_mnist(path: Path) -> Source:
    """Return the samples of Fashion-MNIST's four IDX files (Xiao, Rasul, Vollgraf, 2017), their classes in words.

    Raises:
        ValueError: as `open_idx`.
    """
    source = open_idx(path)
    return Source(tuple(_in_words(raw) for raw in source), source.reader, source.carried)


def _in_words(raw: Raw) -> Raw:
    number = int(raw.label or 0)
    if number >= len(GARMENTS):
        raise ValueError(f"{raw.path} has the label {number}, and Fashion-MNIST only 0 to {len(GARMENTS) - 1}")
    return replace(raw, label=GARMENTS[number])
