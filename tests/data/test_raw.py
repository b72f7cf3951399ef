import pickle

from likewise.data.raw import Extent, Raw


def test_a_sample_survives_pickling() -> None:
    raw = Raw("g/a/1.png", "g/a", "top/g/a/1.png", "g", "encrypted", Extent(1, 2, 3, "zip-deflated", 4), "g/b")
    assert pickle.loads(pickle.dumps(raw)) == raw
