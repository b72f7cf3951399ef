from __future__ import annotations

import base64
import json
import shutil
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server

from likewise import artifacts
from likewise.config import read_yaml
from likewise.delivery.model import Model
from likewise.delivery.registry import Registered
from tests.data.pictures import encoded

Made = tuple[Path, Registered]
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def delivered(registered: Made) -> Path:
    """The folder of the version's own artifacts."""
    (found,) = registered[0].glob("mlartifacts/**/MLmodel")
    return found.parent


@pytest.fixture(scope="module")
def loaded(delivered: Path) -> Any:
    return mlflow.pyfunc.load_model(str(delivered))


@pytest.fixture(scope="module")
def model(delivered: Path) -> Model:
    return Model.from_folder(delivered / "artifacts/model")


@pytest.fixture(scope="module")
def pictures(evaluated: Path) -> Array:
    return np.array(artifacts.read_media(evaluated)[0][:60:10])


@pytest.fixture(scope="module")
def files(pictures: Array) -> list[bytes]:
    return [encoded(picture[0]) for picture in pictures]


@pytest.fixture(scope="module")
def texts(files: list[bytes]) -> list[str]:
    return [base64.b64encode(file).decode("ascii") for file in files]


def test_every_form_of_a_sample_gives_the_embedding_of_the_model(
    loaded: Any, model: Model, pictures: Array, files: list[bytes], texts: list[str]
) -> None:
    wanted = model.embed(pictures)
    forms = {
        "bytes": pd.DataFrame({"sample": files}),
        "base64": pd.DataFrame({"sample": texts}),
        "data URLs": pd.DataFrame({"sample": [f"data:image/png;base64,{text}" for text in texts]}),
        "arrays": pd.DataFrame({"sample": list(pictures)}),
        "nested lists": pd.DataFrame({"sample": pictures.tolist()}),
        "whole numbers, as JSON has them": {"sample": pictures.astype(np.int64)},
        "one array": {"sample": pictures},
        "columns of base64": {"sample": texts},
        "columns of bytes": {"sample": files},
        "records": [{"sample": text} for text in texts],
        "with other columns": pd.DataFrame({"sample": files, "name": None, "id": 1}),
    }
    for name, form in forms.items():
        found = loaded.predict(form, params={"task": "embed"})
        assert found.dtype == np.float32, name
        np.testing.assert_array_equal(found, wanted, err_msg=name)
    # Without MLflow's schema a plain list or array is the samples.
    inside = loaded.unwrap_python_model()
    for plain in (files, texts, pictures):
        np.testing.assert_array_equal(inside.predict(None, plain), wanted)


def test_compare_gives_what_the_model_says_of_each_pair(loaded: Any, model: Model, texts: list[str]) -> None:
    frame = pd.DataFrame({"left": texts[:5], "right": texts[1:]})
    pairs = [(base64.b64decode(left), base64.b64decode(right)) for left, right in pairwise(texts)]
    for far in (None, 0.1):
        found = loaded.predict(frame, params={"task": "compare"} | ({} if far is None else {"far": far}))
        assert found.to_dict("records") == [asdict(answer) for answer in model.compare_many(pairs, far=far)]


def test_identify_looks_among_the_named_rows_and_nobody_is_an_answer(
    loaded: Any, model: Model, pictures: Array, texts: list[str]
) -> None:
    gallery = model.gallery_of([("ann", pictures[0]), ("ann", pictures[1]), ("bob", pictures[2])])
    wanted = model.identify_many(pictures[2:], gallery)
    frame = pd.DataFrame({"sample": [*texts[:3], *texts[2:]], "name": ["ann", "ann", "bob", *[None] * 4]})
    found = loaded.predict(frame, params={"task": "identify"})
    assert found["name"].tolist() == [answer.name for answer in wanted]
    assert set(found["name"]) == {"bob", None}
    assert found["nearest"].tolist() == [answer.nearest for answer in wanted]
    np.testing.assert_allclose(found["distance"].astype(float), [answer.distance for answer in wanted], atol=1e-6)


def test_search_gives_lists_nearest_first(loaded: Any, model: Model, pictures: Array, texts: list[str]) -> None:
    gallery = model.gallery_of([(f"n{row}", picture) for row, picture in enumerate(pictures)])
    (hits,) = model.search_many([pictures[3]], 4, gallery)
    frame = pd.DataFrame({"sample": [*texts, texts[3]], "name": [*(f"n{row}" for row in range(6)), None]})
    found = loaded.predict(frame, params={"task": "search", "k": 4})
    assert found["names"].tolist() == [[hit.name for hit in hits]]
    np.testing.assert_allclose(found["distances"][0], [hit.distance for hit in hits], atol=1e-6)
    assert len(loaded.predict(frame, params={"task": "search"})["ids"][0]) == 5


def test_who_was_enrolled_in_one_request_is_unknown_to_the_next(loaded: Any, texts: list[str]) -> None:
    named = pd.DataFrame({"sample": texts[:2], "name": ["ann", None]})
    loaded.predict(named, params={"task": "identify"})
    for task in ("identify", "search"):
        with pytest.raises(ValueError, match=r"^(nobody is enrolled|nothing to search in)"):
            loaded.predict(pd.DataFrame({"sample": texts[:1]}), params={"task": task})


def test_a_gallery_of_the_servers_own(
    delivered: Path,
    model: Model,
    pictures: Array,
    texts: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gallery = model.gallery_of({"ann": pictures[0], "bob": pictures[2]})
    monkeypatch.setenv("LIKEWISE_GALLERY", str(gallery.save(tmp_path / "people.safetensors")))
    serving = mlflow.pyfunc.load_model(str(delivered))
    found = serving.predict(pd.DataFrame({"sample": texts[2:3]}), params={"task": "identify"})
    assert found["name"].tolist() == ["bob"]
    monkeypatch.setenv("LIKEWISE_GALLERY", str(tmp_path / "gone"))
    with pytest.raises(ValueError, match="gone: there is no such gallery"):
        mlflow.pyfunc.load_model(str(delivered))


def test_the_servers_own_export_is_searched(
    delivered: Path, evaluated: Path, pictures: Array, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIKEWISE_EXPORT", str(evaluated / "data" / "export"))
    serving = mlflow.pyfunc.load_model(str(delivered))
    found = serving.predict(pd.DataFrame({"sample": texts[:1]}), params={"task": "search", "k": 2})
    assert found["ids"][0][0] == artifacts.EMBEDDINGS.read(evaluated)["id"][0]


def test_files_are_read_only_below_the_folder_that_the_environment_names(
    loaded: Any, files: list[bytes], model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "faces"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "one.png").write_bytes(files[0])
    (tmp_path / "secret.png").write_bytes(files[1])
    (folder / "link.png").symlink_to(tmp_path / "secret.png")

    def embedded(name: str) -> Array:
        found: Array = loaded.predict(pd.DataFrame({"sample": [f"file:{name}"]}))
        return found

    for name in ("in/one.png", str(folder / "in" / "one.png")):
        with pytest.raises(ValueError, match=r"^file: names are not read here; where they may be, set LIKEWISE_FILES"):
            embedded(name)
    monkeypatch.setenv("LIKEWISE_FILES", str(folder))
    for name in ("in/one.png", str(folder / "in" / "one.png")):
        np.testing.assert_array_equal(embedded(name), model.embed(files[:1]))
    for name in ("../secret.png", "link.png", str(tmp_path / "secret.png"), "in", "gone.png", "/etc/hostname", ""):
        with pytest.raises(ValueError, match=r"there is no such file in the folder that may be read$"):
            embedded(name)


@pytest.mark.parametrize(
    ("given", "params", "words"),
    [
        ({"sample": [b"damaged"]}, {}, "image 1: not an image that Pillow can read"),
        ([{"sample": "no base64!"}], {}, r"text must be a base64-encoded file \(.*\), given 'no base64!'"),
        ([{"sample": "ftp:x"}], {}, "text must be base64, or begin with one of data, file, text and a colon"),
        ([{"sample": "data:image/png,x"}], {}, "a data URL must be base64: data:...;base64,..., given 'image/png,x'"),
        ([{"sample": "text:no image"}], {}, "image 1: not an image that Pillow can read"),
        ({"sample": np.full((1, 1, 8, 8), 0.5)}, {}, "sample 1: arrays must hold whole numbers .* float64 0.5 to 0.5"),
        ({"sample": np.full((1, 1, 8, 8), 256)}, {}, "arrays must hold whole numbers from 0 to 255, given int64 256"),
        ({"sample": np.full((1, 1, 8, 8), -1)}, {}, "arrays must hold whole numbers from 0 to 255, given int64 -1"),
        ({"sample": np.zeros((1, 3))}, {}, r"image 1: an array must be uint8 \(H, W\)"),
        ({"sample": [[[1, 2], [3]]]}, {}, "sample 1: .*inhomogeneous"),
        ([{"sample": 3}], {}, "sample 1: there is none; give base64, bytes or an array, not 3"),
        ([{"left": None, "right": None}], {"task": "compare"}, "left 1: there is none"),
        ([{"left": "AAAA"}], {"task": "compare"}, "there is no column 'right'; given: left"),
        ([{"image": "AAAA"}], {}, "there is no column 'sample'; given: none"),
        ([{"left": "AAAA", "right": "AAAA"}], {"tsk": "compare"}, "embed, .* left and right: give .* task: compare"),
        ([{"sample": "AAAA", "name": "ann"}], {"tsk": "search"}, "knows no names: give .* task: identify or search"),
        ([b"bytes"], {}, "there is no column 'sample'; given: none"),
        ([{"sample": "AAAA"}], {"task": "comapre"}, "unknown task 'comapre'; known: compare, "),
        ([{"left": "AAAA", "right": "AAAA"}], {"task": "compare", "far": 0.2}, "rate of 0.2; stored: 0.1"),
        ([{"sample": "AAAA"}], {"task": "search", "k": 0}, "asked for 0 samples"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(
    loaded: Any, given: Any, params: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        loaded.predict(given, params=params)
    assert isinstance(caught.value, MlflowException)
    assert caught.value.error_code == "BAD_REQUEST"
    assert len(str(caught.value).splitlines()) == 1


def invoked(loaded: Any, request: dict[str, Any]) -> Any:
    """What the scoring server makes of a request."""
    answer = scoring_server.invocations(  # type: ignore[no-untyped-call]
        json.dumps(request), "application/json", loaded, loaded.metadata.get_input_schema()
    )
    assert answer.status == 200
    return json.loads(answer.response)["predictions"]


def test_the_server_answers_a_refusal_with_the_reason_alone(loaded: Any, texts: list[str]) -> None:
    with pytest.raises(MlflowException) as caught:
        invoked(loaded, {"dataframe_records": [{"sample": texts[0]}], "params": {"task": "compar"}})
    told = json.loads(caught.value.serialize_as_json())  # type: ignore[no-untyped-call]
    assert told["message"] == "unknown task 'compar'; known: compare, search, embed, identify"
    assert caught.value.get_http_status_code() == 400  # type: ignore[no-untyped-call]


def test_every_way_to_write_a_request_is_answered(
    loaded: Any, model: Model, texts: list[str], files: list[bytes]
) -> None:
    wanted = asdict(model.compare(*files[:2]))
    params = {"task": "compare"}
    pair = {"left": texts[0], "right": texts[1]}
    for body in (
        {"dataframe_records": [pair]},
        {"dataframe_split": {"columns": list(pair), "data": [list(pair.values())]}},
        {"inputs": [pair]},
        {"inputs": {key: [text] for key, text in pair.items()}},
        {"instances": [pair]},
    ):
        assert invoked(loaded, {**body, "params": params}) == [wanted]
    found = invoked(loaded, {"inputs": {"left": texts[:3], "right": texts[1:4]}, "params": params})
    assert len(found) == 3
    assert found[0]["distance"] == pytest.approx(wanted["distance"], abs=1e-6)
    (nobody,) = invoked(
        loaded,
        {
            "inputs": [{"sample": texts[0], "name": "ann"}, {"sample": texts[3]}],
            "params": {"task": "identify"},
        },
    )
    assert nobody["nearest"] == "ann"


def test_the_page_shows_columns_params_and_an_example_that_works(delivered: Path, loaded: Any, model: Model) -> None:
    told = read_yaml(delivered / "MLmodel")["signature"]
    columns = [(each["name"], each["type"], each["required"]) for each in json.loads(told["inputs"])]
    assert columns == [(name, "any", False) for name in ("sample", "left", "right", "name")]
    (out,) = json.loads(told["outputs"])
    assert out["tensor-spec"] == {"dtype": "float32", "shape": [-1, 8]}
    params = {each["name"]: (each["type"], each["default"]) for each in json.loads(told["params"])}
    assert params == {"task": ("string", "embed"), "far": ("double", None), "k": ("integer", 5)}
    frame = loaded.input_example
    assert loaded.predict(frame).shape == (1, 8)
    serving = json.loads((delivered / "serving_input_example.json").read_text(encoding="utf-8"))
    assert serving["params"] == {"task": "embed"}
    (found,) = invoked(loaded, serving)
    np.testing.assert_allclose(found, model.embed(base64.b64decode(frame["sample"][0]))[0], atol=1e-6)


def test_a_version_whose_weights_were_changed_is_not_loaded(delivered: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(delivered, tmp_path / "version"))
    weights = copied / "artifacts/model/encoder.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"not the weights that model\.json names \(SHA-256 differs\)"):
        mlflow.pyfunc.load_model(str(copied))
