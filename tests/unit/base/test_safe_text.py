"""Every exception and every object has a text, whatever its own methods raise."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from prefect_anyrunner._base.safe_text import (
    clipped,
    cut,
    described,
    error_text,
    full_text,
    readable,
    short_repr,
    text_of,
)


class Silent(Exception):
    def __str__(self) -> str:
        sys.exit("no text")

    def __repr__(self) -> str:
        raise GeneratorExit


class OwnString(str):
    def __len__(self) -> int:
        raise RuntimeError


def test_an_error_is_described_in_one_line() -> None:
    error = ValueError("\n  no such day  \nand more")
    assert error_text(error) == "no such day"
    assert described(error) == "ValueError: no such day"
    assert full_text(error) == text_of(error) == str(error)
    assert described(ValueError()) == "ValueError"


def test_an_error_whose_text_raises_is_named() -> None:
    said = "<its text cannot be shown: __str__ raised SystemExit>"
    assert text_of(Silent()) is None
    assert full_text(Silent()) == error_text(Silent()) == said
    assert described(Silent()) == f"Silent: {said}"


def test_an_object_whose_repr_raises_is_named() -> None:
    assert short_repr([1, "a"]) == "[1, 'a']"
    assert short_repr(Silent()) == "<Silent object>"
    assert len(short_repr(["x" * 1000] * 5, limit=100)) < 150


@pytest.mark.parametrize(("text", "expected"), [("abcd", "abcd"), ("abcde", "abc…")])
def test_a_line_is_never_longer_than_its_limit(text: str, expected: str) -> None:
    assert clipped(text, 4) == expected
    assert error_text(ValueError(text), 4) == expected


def test_a_text_that_is_cut_says_how_much_is_missing() -> None:
    assert cut("abcde", 3) == "abc... (2 more characters)"
    text: Any = cut(OwnString("abc"), 3)
    assert type(text) is str and text == "abc"


def test_a_text_that_no_file_can_hold_is_escaped() -> None:
    assert error_text(ValueError("bad file \udc80")) == "bad file \\udc80"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m and \x1b]8;;http://x\x07link\x1b]8;;\x1b\\", "red and link"),
        ("bell \x07 nul \x00 csi \x9b", r"bell \x07 nul \x00 csi \x9b"),
        ("tab\tline\nétoile ☆", "tab\tline\nétoile ☆"),
    ],
)
def test_files_and_pages_have_no_control_characters(text: str, shown: str) -> None:
    assert readable(text) == shown
