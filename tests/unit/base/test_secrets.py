"""What is hidden in texts that somebody wrote."""

from __future__ import annotations

import pytest

from prefect_anyrunner._base.secrets import hide_in_prose, hide_in_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgres://me:pw@db/x is down", "postgres://***@db/x is down"),
        ("connect(host='a', password='p w')", "connect(host='a', password=***)"),
        ("GET /x?token=abc&day=1", "GET /x?token=***&day=1"),
        ('{"api_key": "abc", "day": "mon"}', '{"api_key": ***, "day": "mon"}'),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("mail me@example.com, unexpected token: }", "mail me@example.com, unexpected token: }"),
    ],
)
def test_secrets_in_prose(text: str, shown: str) -> None:
    assert hide_in_prose(text) == shown


@pytest.mark.timeout(20)  # it took minutes
@pytest.mark.parametrize("text", ["a-" * 100_000, "a.a+" * 50_000, "ACGT" * 50_000])
def test_long_texts_are_read_once(text: str) -> None:
    assert hide_in_prose(text) == text
    assert hide_in_text(text) == text
