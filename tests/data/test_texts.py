from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.data.texts import MAX_BYTES, TextSpec, Unreadable, decode, left_out

SPEC = TextSpec(length=16)


def decoded(content: bytes | str, length: int = 16) -> bytes:
    """The bytes of a text without what fills them up."""
    found = decode(content if isinstance(content, bytes) else content.encode(), TextSpec(length))
    assert found.dtype == TextSpec(length).dtype
    assert found.shape == TextSpec(length).shape == (length,)
    text = found.tobytes().rstrip(b"\0")
    assert b"\0" not in text
    return text


def reason(content: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        decode(content, SPEC)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("hello", "hello"),
        ("\ufeffhello", "hello"),
        ("  hello\n\n", "hello"),
        ("\ufeff \u00a0hello\u2003", "hello"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("one\r\n\r\ntwo", "one\n\ntwo"),
        ("cafe\u0301", "café"),
        ("\u212b", "Å"),
        ("Ω", "Ω"),
        ("a\ufeffb", "a\ufeffb"),
        ("tab\there", "tab\there"),
    ],
)
def test_what_is_the_same_text_has_the_same_bytes(content: str, text: str) -> None:
    assert decoded(content) == text.encode()


def test_zeros_fill_up_a_short_text_and_the_result_may_be_written_to() -> None:
    found = decode(b"abc", TextSpec(length=6))
    assert found.tolist() == [97, 98, 99, 0, 0, 0]
    found[0] = 1


@pytest.mark.parametrize(
    ("text", "length", "kept"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcdef"),
        ("abcdeé", 6, "abcde"),
        ("abcdé", 6, "abcdé"),
        ("abc日", 5, "abc"),
        ("ab日", 5, "ab日"),
        ("a😀", 4, "a"),
        ("😀😀", 4, "😀"),
        ("😀😀", 7, "😀"),
        ("abc   def", 5, "abc"),
    ],
)
def test_a_long_text_ends_after_a_whole_character(text: str, length: int, kept: str) -> None:
    assert decoded(text, length) == kept.encode()


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40), st.integers(4, 40))
def test_against_a_loop_over_the_characters_and_twice_is_once(text: str, length: int) -> None:
    whole = unicodedata.normalize("NFC", text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")).strip()
    if not whole:
        assert reason(text.encode()) == "empty: no text but white space"
        return
    kept = ""
    for character in whole:
        if len((kept + character).encode()) > length:
            break
        kept += character
    found = decoded(text, length)
    assert found == kept.rstrip().encode()
    assert found
    # A byte-order mark that is not the first character is one, once it comes first.
    if not kept.startswith("\ufeff"):
        assert decoded(found, length) == found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty: no text but white space"),
        (b" \r\n\t", "empty: no text but white space"),
        ("\ufeff".encode(), "empty: no text but white space"),
        (b"abc\xffdef", "not UTF-8: byte 3"),
        ("\ufeff".encode() + b"abc\xff", "not UTF-8: byte 6"),
        (b"caf\xc3", "not UTF-8: byte 3"),
        (b"\xed\xa0\x80", "not UTF-8: byte 0"),
        ("hello".encode("utf-16"), "not UTF-8: byte 0"),
        ("hello".encode("utf-16-le"), "byte 1 is NUL, which no text holds"),
        (b"abc\0", "byte 3 is NUL, which no text holds"),
        (b"a" * (MAX_BYTES + 1), f"{MAX_BYTES + 1} bytes, more than {MAX_BYTES}"),
    ],
)
def test_what_is_no_text_is_refused(content: bytes, message: str) -> None:
    assert reason(content) == message


def test_an_array_is_no_text() -> None:
    with pytest.raises(Unreadable, match=r"a text must be an encoded file, given an array uint8 \(3,\)"):
        decode(np.zeros(3, np.uint8), SPEC)


@given(st.binary(max_size=60))
def test_any_bytes_give_a_text_or_one_reason(content: bytes) -> None:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = ""
    if "\0" in text or not text.removeprefix("\ufeff").strip():
        reason(content)
    else:
        assert decode(content, SPEC).any()


def test_a_length_that_holds_no_character_is_refused() -> None:
    with pytest.raises(ValueError, match="length is 3: at least 4 bytes are needed"):
        TextSpec(length=3)


@pytest.mark.parametrize(
    ("text", "length", "cut"),
    [
        ("0123456789abcdef", 16, 0),
        ("  0123456789abcdef\r\n", 16, 0),
        ("0123456789abcdefg", 16, 1),
        ("0123456789abc \u20ac", 16, 4),  # the sign has 3 bytes, the space before it goes with it
        ("\ufeffabcd\r\nef", 4, 3),
    ],
)
def test_what_is_past_the_length_is_counted(text: str, length: int, cut: int) -> None:
    assert left_out(text.encode(), TextSpec(length)) == cut


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_bytes_kept_and_left_out_are_all_there_are(text: str) -> None:
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    whole = unicodedata.normalize("NFC", lines).strip().encode()
    if whole:
        assert len(decoded(text)) + left_out(text.encode(), SPEC) == len(whole)
