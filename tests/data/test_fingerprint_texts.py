from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np
import pytest

from likewise.data import kinds
from likewise.data.fingerprint_base import Words, scattered
from likewise.data.fingerprint_texts import text_fingerprints
from likewise.data.hamming import differing

NEAR = 40
"""What params.yaml advises."""

TEXTS = [
    "The network embeds both samples, and their distance decides whether they are the same.",
    "A sound is cut into windows of one second, each of which becomes a log-mel spectrum.",
    "Le chien dort devant la maison et rêve de longues promenades au bord de la mer.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "敏捷的棕色狐狸跳过了那只懒惰的狗, 然后消失在树林里。",
]


def prints(*texts: str, length: int = 256) -> Words:
    preprocessing = kinds.build("text", length=length)
    return text_fingerprints(np.stack([preprocessing.rows(text.encode())[0] for text in texts]))


def shingles(text: str) -> Counter[int]:
    encoded = f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} ".encode()
    return Counter(int.from_bytes(encoded[i : i + 4], "little") for i in range(len(encoded) - 3))


def oracle(text: str) -> int:
    """The definition with votes counted one by one; for plain ASCII."""
    counts = shingles(text)
    words = {code: scattered(np.array([code], np.uint64), 4)[0].tolist() for code in counts}
    word = 0
    for bit in range(256):
        votes = sum(count for code, count in counts.items() if words[code][bit // 64] >> bit % 64 & 1)
        word |= (2 * votes > counts.total()) << bit
    return word


@pytest.mark.parametrize("text", [TEXTS[0], "aaaa", "To be, or not to be"])
def test_it_is_the_definition(text: str) -> None:
    word = oracle(text)
    assert prints(text).tolist() == [[word >> 64 * w & 2**64 - 1 for w in range(4)]]


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        lambda text: text.replace(" ", " \n "),
        lambda text: "".join(f"{sign}" for sign in text if sign not in ",.。"),
        lambda text: text.replace("ê", "e\u0302"),
        lambda text: text[:30] + text[31:],
    ],
    ids=["upper case", "white space", "no punctuation", "written in another way", "a letter lost"],
)
def test_a_copy_is_near(change: object) -> None:
    assert callable(change)
    changed = [change(text) for text in TEXTS]
    assert differing(prints(*changed), prints(*TEXTS)).max() <= NEAR


def test_other_texts_are_not_near() -> None:
    found = prints(*TEXTS)
    assert differing(found[:, None], found)[~np.eye(len(TEXTS), dtype=bool)].min() > 2 * NEAR


def test_short_texts_and_those_without_a_word() -> None:
    found = prints("a", "A!", "b", "?!", "!?", "🙂")
    assert differing(found[0], found[1]) == 0
    assert min(differing(found[one], found[other]) for one, other in ((0, 2), (0, 3), (3, 4), (3, 5))) > NEAR


def test_the_zeros_that_fill_a_text_up_do_not_count() -> None:
    assert prints(*TEXTS, length=200).tolist() == prints(*TEXTS, length=256).tolist()
    assert text_fingerprints(np.zeros((0, 9), np.uint8)).shape == (0, 4)


def test_bits_tell_the_angle_between_the_counts() -> None:
    one, other = "alpha beta gamma delta epsilon zeta eta theta", "alpha beta gamma delta epsilon iota kappa lambda"
    counts = [shingles(text) for text in (one, other)]
    lengths = [math.sqrt(sum(count**2 for count in each.values())) for each in counts]
    product = sum(count * counts[1][code] for code, count in counts[0].items())
    share = math.acos(product / math.prod(lengths)) / math.pi
    assert 0.2 < share < 0.4
    # Three deviations of a share of 256 bits.
    assert abs(differing(*prints(one, other)) / 256 - share) < 3 * math.sqrt(share * (1 - share) / 256)
