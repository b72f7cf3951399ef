from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from likewise import artifacts, distances
from likewise.data import kinds
from likewise.data.raw import Unreadable
from likewise.delivery.judgement import Judgement
from likewise.delivery.model import Model, ModelError, load_encoder
from likewise.evaluation.calibration import Calibration
from likewise.evaluation.thresholds import Threshold
from likewise.learning import encoders
from likewise.learning.embedding import embed
from tests.data import recordings
from tests.data.pictures import encoded, noise


@pytest.fixture(scope="module")
def pictures(evaluated: Path) -> np.ndarray[Any, Any]:
    return np.array(artifacts.read_media(evaluated)[0])


@pytest.fixture
def folder(evaluated: Path, tmp_path: Path) -> Path:
    """A delivered model: its three files side by side."""
    made = tmp_path / "model"
    made.mkdir()
    for name in artifacts.DELIVERED:
        shutil.copy2(evaluated / name, made)
    return made


@pytest.fixture
def model(folder: Path) -> Model:
    return Model.from_folder(folder)


def png(picture: np.ndarray[Any, Any]) -> bytes:
    return encoded(picture[0])


def test_paths_bytes_and_arrays_give_the_same_embedding(
    model: Model, pictures: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(png(pictures[0]))
    found = model.embed([path, str(path), png(pictures[0]), pictures[0], pictures[0, 0]])
    assert found.dtype == np.float32
    assert found.shape == (5, 8)
    assert (found == found[0]).all()


def test_embeddings_are_those_of_export_in_the_order_of_the_items(
    evaluated: Path, model: Model, pictures: np.ndarray[Any, Any]
) -> None:
    wanted = np.stack(list(artifacts.EMBEDDINGS.read(evaluated)["vector"]))
    found = model.embed(pictures[row] for row in (5, 0, 70))
    np.testing.assert_allclose(found, wanted[[5, 0, 70]], atol=1e-6)


def test_other_sizes_and_colours_are_made_to_fit(model: Model) -> None:
    large = encoded(noise(1, height=40, width=30, channels=3), "JPEG")
    assert np.isfinite(model.embed([large, noise(2, height=9, width=70, channels=3)])).all()


def test_nothing_to_embed_gives_nothing(model: Model) -> None:
    assert len(model.embed([])) == 0


def test_compare_says_what_the_distance_the_threshold_and_the_calibration_say(
    model: Model, folder: Path, pictures: np.ndarray[Any, Any]
) -> None:
    judged = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    calibration = Calibration.from_dict(judged["probability"])
    answers = set()
    for left, right in ((0, 1), (0, 60), (30, 31), (90, 91), (0, 40)):
        embeddings = torch.from_numpy(model.embed([pictures[left], pictures[right]]))
        distance = distances.build("euclidean").paired(embeddings[:1], embeddings[1:]).item()
        answer = model.compare(pictures[left], pictures[right])
        assert (answer.distance, answer.score) == (distance, -distance)
        assert answer.threshold == judged["threshold"]["value"]
        assert answer.same == (answer.score >= answer.threshold)
        assert answer.probability == pytest.approx(float(calibration.probability(answer.score)))
        answers.add(answer.same)
    assert answers == {True, False}


def test_compare_is_symmetric_and_a_sample_is_itself(model: Model, pictures: np.ndarray[Any, Any]) -> None:
    assert model.compare(pictures[0], pictures[9]) == model.compare(pictures[9], pictures[0])
    itself = model.compare(pictures[0], png(pictures[0]))
    assert (itself.distance, itself.same) == (0, True)


def test_a_score_at_the_threshold_is_accepted(folder: Path, pictures: np.ndarray[Any, Any]) -> None:
    loaded = Model.from_folder(folder)
    score = loaded.compare(pictures[0], pictures[1]).score
    judged = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    judged["threshold"]["value"] = score
    (folder / "calibration.json").write_text(json.dumps(judged), encoding="utf-8")
    assert Model.from_folder(folder).compare(pictures[0], pictures[1]).same


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"damaged", "not an image that Pillow can read"),
        (b"", "empty file"),
        (encoded(noise(1, height=2)), "10x2 pixels, a side shorter than 4"),
    ],
)
def test_an_image_that_cannot_be_read_is_named_with_one_reason(
    model: Model, pictures: np.ndarray[Any, Any], tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(Unreadable) as caught:
        model.compare(pictures[0], path)
    assert str(caught.value) == f"{path}: {reason}"
    with pytest.raises(Unreadable) as caught:
        model.embed([pictures[0], pictures[1], content])
    assert str(caught.value) == f"image 3: {reason}"


@pytest.mark.parametrize("array", [np.zeros((8, 8)), np.zeros((8, 8, 2), dtype=np.uint8), np.zeros(3, dtype=np.uint8)])
def test_an_array_that_is_no_image_is_refused(model: Model, array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(Unreadable, match=r"^image 1: an array must be uint8 \(H, W\)"):
        model.embed([array])


def test_a_path_that_is_not_there_is_said(model: Model, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        model.embed([tmp_path / "nowhere.png"])


def change(name: str, edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        edit(content)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    return apply


def write(name: str, content: bytes) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return apply


def tamper(folder: Path) -> None:
    content = bytearray((folder / "encoder.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "encoder.safetensors").write_bytes(content)


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "tampered weights": (tamper, r"encoder\.safetensors: not the weights that model\.json names \(SHA-256 differs\)"),
    "no weights": (
        lambda folder: (folder / "encoder.safetensors").unlink(),
        r"encoder\.safetensors: missing; a model's",
    ),
    "no description": (lambda folder: (folder / "model.json").unlink(), r"model\.json: missing; .* calibration\.json"),
    "no calibration": (lambda folder: (folder / "calibration.json").unlink(), r"calibration\.json: missing"),
    "other format": (change("model.json", lambda c: c.update(format=1)), r"model\.json: format 1; .* reads format 2"),
    "no JSON": (write("model.json", b"{"), r"model\.json: not a model's file \(Expecting"),
    "no object": (write("model.json", b"[1]"), r"model\.json: not a model's file \(it lacks format, "),
    "no hash": (change("model.json", lambda c: c.pop("weights_sha256")), r"it lacks weights_sha256\)"),
    "no text": (write("calibration.json", b"\xff"), r"calibration\.json: not a model's file"),
    "no threshold": (change("calibration.json", lambda c: c.pop("threshold")), r"it lacks threshold\)"),
    "half a threshold": (change("calibration.json", lambda c: c["threshold"].pop("far")), "not a stored Threshold"),
    "other distance": (
        change("calibration.json", lambda c: c["threshold"].update(distance="cosine")),
        "this threshold belongs to cosine scores and means nothing for euclidean",
    ),
    "other calibration": (
        change("calibration.json", lambda c: c["probability"].update(distance="cosine")),
        "this calibration belongs to cosine scores and means nothing for euclidean",
    ),
    "unknown encoder": (change("model.json", lambda c: c["encoder"].update(name="cnv")), "unknown encoder 'cnv'"),
    "unknown distance": (change("model.json", lambda c: c.update(distance="cosin")), "unknown distance 'cosin'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_that_is_broken_is_refused_in_a_line(folder: Path, name: str) -> None:
    spoil, words = BROKEN[name]
    spoil(folder)
    with pytest.raises(ValueError, match=words) as caught:
        Model.from_folder(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_of_another_distance_cannot_be_put_together(folder: Path, model: Model) -> None:
    encoder, _ = load_encoder(folder / "model.json", folder / "encoder.safetensors")
    threshold = Threshold.from_dict({**model.threshold.to_dict(), "distance": "cosine"})
    with pytest.raises(ValueError, match="this threshold belongs to cosine scores"):
        Model(
            encoder,
            preprocessing=model.preprocessing,
            distance="euclidean",
            judgement=Judgement(threshold, model.calibration),
        )


def test_a_sound_of_several_windows_has_the_mean_of_their_embeddings(model: Model) -> None:
    preprocessing = kinds.build("audio", rate=8000, seconds=0.25)
    encoder = encoders.build("tdnn", preprocessing.shape, 8, width=8)
    heard = Model(
        encoder,
        preprocessing=preprocessing,
        distance="euclidean",
        judgement=model.judgement,
    )
    rising = recordings.tone(300.0, seconds=0.5) * np.linspace(0.1, 1, 4000, dtype=np.float32)
    long, short = (recordings.encoded(samples) for samples in (rising, rising[:2000]))
    rows = preprocessing.rows(long)
    assert len(rows) == 2
    with torch.inference_mode():
        windows = encoder.eval()(torch.from_numpy(rows))
    wanted = torch.nn.functional.normalize(windows.mean(dim=0), dim=0)
    found = heard.embed([short, long, short])
    np.testing.assert_allclose(found[1], wanted.numpy(), atol=1e-6)
    np.testing.assert_allclose(found[0], windows[0].numpy(), atol=1e-6)
    np.testing.assert_array_equal(found[0], found[2])


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.json: missing"):
        Model.from_folder(tmp_path)


def test_a_picture_in_colour_is_turned_as_its_exif_says(model: Model) -> None:
    image = Image.fromarray(noise(3, height=16, width=16))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    upright, turned = io.BytesIO(), io.BytesIO()
    image.save(upright, "PNG")
    image.rotate(180).save(turned, "PNG", exif=exif)
    np.testing.assert_array_equal(*model.embed([upright.getvalue(), turned.getvalue()]).reshape(2, 1, -1))


def test_the_rate_asked_for_decides_when_two_are_the_same(model: Model, pictures: np.ndarray[Any, Any]) -> None:
    assert list(model.judgement.by_rate) == [0.1]
    strict = model.judgement.by_rate[0.1].value
    found = model.compare_many([(pictures[0], other) for other in pictures[:90]], far=0.1)
    assert {answer.threshold for answer in found} == {strict}
    assert [answer.same for answer in found] == [answer.score >= strict for answer in found]
    with pytest.raises(ValueError, match=r"^far: no threshold is stored for a rate of 0\.01; stored: 0\.1$"):
        model.compare(pictures[0], pictures[1], far=0.01)


def test_many_pairs_are_compared_as_one_by_one(model: Model, pictures: np.ndarray[Any, Any]) -> None:
    pairs = [(pictures[row], pictures[-row]) for row in range(1, 6)]
    for found, (left, right) in zip(model.compare_many(pairs), pairs, strict=True):
        assert found.distance == pytest.approx(model.compare(left, right).distance, abs=1e-6)
    assert model.compare_many([]) == []


@pytest.mark.parametrize("batch", [1, 3, 512])
def test_many_items_are_embedded_a_batch_at_a_time(
    model: Model, pictures: np.ndarray[Any, Any], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def counted(encoder: Any, media: Any, samples: Any, *, batch_size: int) -> torch.Tensor:
        sizes.append(len(samples))
        return embed(encoder, media, samples, batch_size=batch_size)

    wanted = model.embed(pictures[:8])
    monkeypatch.setattr("likewise.delivery.model.BATCH", batch)
    monkeypatch.setattr("likewise.delivery.model.embed", counted)
    np.testing.assert_allclose(model.embed(iter(pictures[:8])), wanted, atol=1e-6)
    assert sizes == {1: [1] * 8, 3: [3, 3, 2], 512: [8]}[batch]


def test_a_path_or_bytes_alone_is_one_sample(model: Model, pictures: np.ndarray[Any, Any], tmp_path: Path) -> None:
    path = tmp_path / "one.png"
    path.write_bytes(png(pictures[0]))
    for alone in (path, str(path), png(pictures[0])):
        np.testing.assert_array_equal(model.embed(alone), model.embed([alone]))


def people(pictures: np.ndarray[Any, Any]) -> dict[str, list[np.ndarray[Any, Any]]]:
    """Three samples of each of the six classes of train, the first of each eight rows."""
    return {f"k{c}": [pictures[8 * c + n] for n in range(3)] for c in range(6)}


def test_who_somebody_is_and_nobody(model: Model, pictures: np.ndarray[Any, Any]) -> None:
    gallery = model.enrol(people(pictures))
    assert model.gallery is gallery
    assert (len(gallery), gallery.people) == (18, ("k0", "k1", "k2", "k3", "k4", "k5"))
    threshold = model.judgement.known_from()
    embeddings = torch.from_numpy(gallery.embeddings)
    found = model.identify_many(pictures[:48])
    for picture, answer in zip(pictures[:48], found, strict=True):
        own = torch.from_numpy(model.embed([picture])).expand(18, -1)
        far = distances.build("euclidean").paired(own, embeddings).numpy()
        row = int(far.argmin())
        assert answer.nearest == gallery.names[row]
        assert answer.id == gallery.ids[row]
        assert answer.distance == pytest.approx(float(far[row]), abs=1e-6)
        assert answer.score == -answer.distance
        assert answer.threshold == threshold
        assert answer.name == (answer.nearest if answer.score >= threshold else None)
        assert answer.probability == pytest.approx(float(model.calibration.probability(answer.score)))
    assert {answer.name for answer in found} > {None, "k0"}
    assert model.identify(pictures[0], gallery) == model.identify_many([pictures[0]])[0]
    itself = model.identify(pictures[0])
    assert itself.name == "k0"
    assert itself.distance == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match=r"no threshold is stored for a rate of 0\.5; stored: 0\.1$"):
        model.identify(pictures[0], far=0.5)


def test_the_threshold_of_identification_is_that_of_the_open_set(folder: Path, pictures: np.ndarray[Any, Any]) -> None:
    judged = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    assert judged["open_set"]["fars"] == [0.1]
    assert judged["open_set"]["thresholds"] == [Model.from_folder(folder).judgement.known_from()]
    change("calibration.json", lambda content: content.update(open_set=None))(folder)
    without = Model.from_folder(folder)
    without.enrol({"k0": pictures[0]})
    assert without.identify(pictures[1]).threshold == without.threshold.value


def test_samples_are_enrolled_by_name_or_as_pairs(model: Model, pictures: np.ndarray[Any, Any], tmp_path: Path) -> None:
    path = tmp_path / "ann.png"
    path.write_bytes(png(pictures[0]))
    by_name = model.enrol({"ann": [path, pictures[1]], "bob": png(pictures[20]), "eve": pictures[30]})
    assert by_name.ids == (str(path), "ann 2", "bob 3", "eve 4")
    pairs = model.enrol([("ann", path), ("ann", pictures[1]), ("bob", png(pictures[20])), ("eve", pictures[30])])
    assert (pairs.names, pairs.ids) == (by_name.names, by_name.ids)
    np.testing.assert_array_equal(pairs.embeddings, by_name.embeddings)
    assert by_name.weights == artifacts.file_sha256(tmp_path / "model" / "encoder.safetensors")


def test_nobody_enrolled_and_other_models_galleries_are_told_in_a_line(
    model: Model, pictures: np.ndarray[Any, Any]
) -> None:
    with pytest.raises(ValueError, match=r"^nobody is enrolled: give a gallery, or enrol named samples first$"):
        model.identify(pictures[0])
    with pytest.raises(ValueError, match=r"^nothing to search in: the registry holds no embeddings; enrol samples"):
        model.search(pictures[0])
    with pytest.raises(ValueError, match=r"^there is nobody to enrol$"):
        model.enrol({})
    with pytest.raises(ValueError, match=r"^a name is empty"):
        model.enrol({" ": pictures[0]})
    with pytest.raises(Unreadable, match=r"^image 2: not an image"):
        model.enrol({"ann": [pictures[0], b"text"]})
    gallery = model.enrol({"ann": pictures[0]})
    other = Model(
        model.encoder,
        preprocessing=model.preprocessing,
        distance="euclidean",
        judgement=model.judgement,
        weights="other",
    )
    for use in (other.identify, lambda item, among: other.search(item, 1, among)):
        with pytest.raises(ValueError, match="another model made this gallery"):
            use(pictures[0], gallery)
    with pytest.raises(ValueError, match="nobody is enrolled"):
        model.identify(pictures[0], gallery.without("ann"))


def test_what_is_most_alike_in_a_gallery(model: Model, pictures: np.ndarray[Any, Any]) -> None:
    gallery = model.enrol(people(pictures))
    hits = model.search(pictures[0], 4)
    assert (hits[0].id, hits[0].name) == ("k0 1", "k0")
    assert hits[0].distance == pytest.approx(0, abs=1e-6)
    assert [hit.distance for hit in hits] == sorted(hit.distance for hit in hits)
    again = model.search_many([pictures[0], pictures[9]], 4, gallery)[0]
    assert [(hit.id, hit.name) for hit in again] == [(hit.id, hit.name) for hit in hits]
    assert len(model.search(pictures[0], 100)) == 18
    with pytest.raises(ValueError, match="asked for 0 samples"):
        model.search(pictures[0], 0)
