"""The arguments of a failed run as text: short, without secrets, whatever the objects' own code does."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import unmapped
from prefect.utilities.annotations import quote
from pydantic import BaseModel, SecretStr

from prefect_anyrunner._base.masked_repr import MAX_SHOWN
from prefect_anyrunner._outcomes.inputs import MAX_INPUTS, inputs_text
from tests.unit.fake_future import FakeFuture


class Login(BaseModel):
    user: str
    password: str


class Plain: ...


class Hostile:
    def __repr__(self) -> str:
        raise SystemExit(3)


class Table:
    shape = (1000, 3)

    def __repr__(self) -> str:
        raise AssertionError("a table is not printed")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("wed", "'wed'"),
        (3, "3"),
        ({"day": "wed", "n": [1, 2]}, "{'day': 'wed', 'n': [1, 2]}"),
        (unmapped("wed"), "'wed'"),
        (quote({"token": "t0p"}), "{'token': ***}"),
        (Plain(), "<Plain>"),
        (Hostile(), "<Hostile>"),
        (Table(), "<Table of shape (1000, 3)>"),
        (b"x" * 10_000_000, "<bytes of length 10000000>"),
        ("x" * 10_000_000, "<str of 10000000 characters>"),
        ("several\nlines", r"'several\nlines'"),
        (FakeFuture().ends([1]), "[1]"),
        (FakeFuture(), "<result of load>"),
    ],
)
def test_an_argument_is_shown_in_short(value: Any, text: str) -> None:
    assert inputs_text({"x": value}) == f"x={text}"


def test_the_text_is_bounded() -> None:
    text = inputs_text({f"argument_{number}": "x" * 1000 for number in range(100)})
    assert len(text) == MAX_INPUTS
    assert len(inputs_text({"x": [["y" * 500] * 50] * 50})) <= len("x=") + MAX_SHOWN


@pytest.mark.parametrize(
    "name", ["password", "db_password", "token", "api_key", "key", "client_secret", "Authorization_Token"]
)
def test_secrets_are_hidden_by_the_name_of_the_argument(name: str) -> None:
    assert inputs_text({name: "t0p", "monkey": "ok"}) == f"{name}=***, monkey='ok'"


@pytest.mark.parametrize(
    "value",
    [
        SecretStr("t0p"),
        {"connection": {"password": "t0p"}},
        Login(user="me", password="t0p"),
        "postgres://me:t0p@host/db",
        "https://host/path?token=t0p&x=1",
        "password=t0p",
    ],
)
def test_secrets_are_hidden_inside_values(value: Any) -> None:
    assert "t0p" not in inputs_text({"x": value})


def test_an_email_address_is_no_secret() -> None:
    assert inputs_text({"to": "me@example.com"}) == "to='me@example.com'"


def test_the_user_can_hide_all_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYRUNNER_INPUTS", "hide")
    assert inputs_text({"day": "wed"}) == ""


@pytest.mark.timeout(20)  # it took minutes
def test_long_words_are_read_once() -> None:
    assert all(inputs_text({"seq": "ACGT" * 2500}).startswith("seq='ACGTACGT") for _ in range(100))


@pytest.mark.parametrize(
    "value",
    [
        '{"u": "https://x", "password": "hunter2"}',
        {"Authorization": "Bearer hunter2hunter2"},
        [("Authorization", "Bearer hunter2hunter2")],
        "see https://x and token=hunter2",
    ],
)
def test_secrets_in_texts_of_arguments_are_hidden(value: object) -> None:
    assert "hunter2" not in inputs_text({"config": value})
