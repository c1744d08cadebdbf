"""What is hidden in texts that somebody wrote."""

from __future__ import annotations

import pytest

from prefect_anyrunner._base.secrets import hide_in_prose


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
