import gzip
import importlib.machinery
import importlib.util
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from likewise.data.arrays import open_digits, open_idx
from likewise.data.raw import Raw
from tests.data.pictures import noise, put
from tests.real import real

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx(values: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    return header + values.tobytes()


def mnist(folder: Path, *, train: int = 4, test: int = 3) -> Path:
    for prefix, count in (("train", train), ("t10k", test)):
        images = np.stack([noise(seed, height=6, width=5) for seed in range(count)])
        put(folder / f"{prefix}-images-idx3-ubyte", idx(images))
        put(folder / f"{prefix}-labels-idx1-ubyte", idx(np.arange(count, dtype=np.uint8) % 2))
    return folder


def test_digits_are_scikit_learns() -> None:
    source = open_digits(Path("ignored"))
    images = np.stack([np.asarray(source.read(raw)) for raw in source])
    oracle = load_digits()
    np.testing.assert_array_equal(images, np.rint(oracle.images * 255 / 16))
    assert images.dtype == np.uint8
    assert [raw.label for raw in source] == [str(label) for label in oracle.target]
    assert source.raws[12] == Raw(id="digits/00012", label="2", path="digits.csv.gz#12", place=12)


def test_digits_do_not_import_scikit_learn() -> None:
    code = (
        "import sys, pathlib; from likewise.data.sources import open_source; "
        "print(len(open_source('digits', 'x')), 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1797", "False"]


def test_digits_say_so_when_scikit_learn_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="scikit-learn, which is not installed: install it"):
        open_digits(tmp_path)
    empty = importlib.machinery.ModuleSpec("sklearn", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: empty)
    with pytest.raises(ValueError, match=r"digits\.csv\.gz, which is missing: install scikit-learn again"):
        open_digits(tmp_path)


def test_idx_gives_images_labels_and_the_split_it_declares(tmp_path: Path) -> None:
    source = open_idx(mnist(tmp_path))
    assert [raw.id for raw in source] == [f"test/0000{n}" for n in range(3)] + [f"train/0000{n}" for n in range(4)]
    by_id = {raw.id: raw for raw in source}
    assert source.carried is not None
    assert source.carried.to_pydict() == {"split": ["test"] * 3 + ["train"] * 4}
    assert by_id["test/00002"].path == "t10k-images-idx3-ubyte#2"
    assert by_id["train/00003"].label == "1"
    np.testing.assert_array_equal(source.read(by_id["test/00002"]), noise(2, height=6, width=5))
    np.testing.assert_array_equal(source.read(by_id["train/00003"]), noise(3, height=6, width=5))


def test_idx_may_be_gzipped_or_named_with_a_dot(tmp_path: Path) -> None:
    plain = open_idx(mnist(tmp_path / "plain"))
    for number, name in enumerate(FILES):
        content = (tmp_path / "plain" / name).read_bytes()
        other = name.replace("-idx", ".idx") if number % 2 else f"{name}.gz"
        put(tmp_path / "other" / other, content if number % 2 else gzip.compress(content))
    other_source = open_idx(tmp_path / "other")
    for left, right in zip(plain, other_source, strict=True):
        assert (left.id, left.label) == (right.id, right.label)
        np.testing.assert_array_equal(plain.read(left), other_source.read(right))


@pytest.mark.parametrize("missing", FILES)
def test_idx_needs_all_four_files(tmp_path: Path, missing: str) -> None:
    (mnist(tmp_path) / missing).unlink()
    with pytest.raises(ValueError, match=f"has no {missing} or {missing}.gz: put MNIST's four IDX files there"):
        open_idx(tmp_path)


def test_idx_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere is not a folder: give the folder that holds MNIST's four IDX files"):
        open_idx(tmp_path / "nowhere")


@pytest.mark.parametrize("name", FILES)
def test_idx_refuses_a_wrong_magic_number(tmp_path: Path, name: str) -> None:
    file = mnist(tmp_path) / name
    file.write_bytes(b"\x00\x00\x0d\x03" + file.read_bytes()[4:])
    with pytest.raises(ValueError, match=rf"{name} begins with '00000d03' and not with IDX's magic number 0000080[13]"):
        open_idx(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_idx_refuses_a_file_that_is_not_as_long_as_it_says(tmp_path: Path, name: str) -> None:
    file = mnist(tmp_path) / name
    content = file.read_bytes()
    header = 16 if "images" in name else 8
    file.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=rf"{name} is truncated: its header .* says {len(content) - header} bytes"):
        open_idx(tmp_path)
    file.write_bytes(content + b"x")
    with pytest.raises(ValueError, match=f"{name} is too long"):
        open_idx(tmp_path)
    file.write_bytes(content[:3])
    with pytest.raises(ValueError, match=f"{name} begins with"):
        open_idx(tmp_path)


@pytest.mark.parametrize("damage", ["none", "truncated", "checksum"])
def test_idx_refuses_a_damaged_gzip(tmp_path: Path, damage: str) -> None:
    packed = gzip.compress((mnist(tmp_path) / FILES[0]).read_bytes())
    (tmp_path / FILES[0]).unlink()
    damaged = {"none": b"not gzip at all", "truncated": packed[:-20], "checksum": packed[:-8] + bytes(8)}
    put(tmp_path / f"{FILES[0]}.gz", damaged[damage])
    with pytest.raises(ValueError, match=rf"{FILES[0]}\.gz cannot be read: "):
        open_idx(tmp_path)


def test_idx_does_not_unpack_more_than_its_header_says(tmp_path: Path) -> None:
    content = (mnist(tmp_path) / FILES[0]).read_bytes()
    (tmp_path / FILES[0]).unlink()
    packed = put(tmp_path / f"{FILES[0]}.gz", gzip.compress(content) + gzip.compress(bytes(1 << 28), 1))
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"{FILES[0]}\.gz is too long: its header \(4, 6, 5\) says 120 bytes$"):
        open_idx(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24
    put(packed, gzip.compress(content[:4] + b"\xff" * 12))
    with pytest.raises(ValueError, match=rf"{FILES[0]}\.gz says that it holds \d+ bytes \(.*\), more than 2147483648$"):
        open_idx(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_idx_refuses_empty_files_and_links_that_lead_outside(name: str, tmp_path: Path) -> None:
    file = mnist(tmp_path / "data") / name
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=rf"{name} begins with '' and not with IDX's magic number"):
        open_idx(tmp_path / "data")
    file.unlink()
    file.symlink_to(put(tmp_path / "secret", b"secret"))
    with pytest.raises(ValueError, match=rf"{name} is a link that leads outside the folder$"):
        open_idx(tmp_path / "data")


def test_idx_refuses_counts_that_differ(tmp_path: Path) -> None:
    put(mnist(tmp_path) / "t10k-labels-idx1-ubyte", idx(np.zeros(2, np.uint8)))
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte has 2 labels for 3 images"):
        open_idx(tmp_path)


def test_a_sample_of_another_source_is_not_read(tmp_path: Path) -> None:
    source = open_idx(mnist(tmp_path))
    for place in (None, 7):
        with pytest.raises(ValueError, match="'elsewhere' is not of"):
            source.read(Raw(id="elsewhere", label=None, path="", place=place))


def test_real_mnist() -> None:
    source = open_idx(real("mnist"))
    assert len(source) == 70_000
    assert source.carried is not None
    assert Counter(source.carried["split"].to_pylist()) == {"train": 60_000, "test": 10_000}
    assert Counter(raw.label for raw in source if raw.id.startswith("test/"))["1"] == 1135
    assert np.asarray(source.read(source.raws[0])).shape == (28, 28)
