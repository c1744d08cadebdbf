"""Versions that differ in a way that matters are reported in one sentence."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from prefect_anyrunner import VersionSkew
from prefect_anyrunner._base.versions import refuse_skew
from prefect_anyrunner._serialization.pack import pack_error
from prefect_anyrunner._serialization.unpack import unpack_error

HERE = {"python": "3.11.7", "prefect": "3.8.8", "prefect-anyrunner": "0.1.0", "distributed": "2026.8.0"}


@pytest.mark.parametrize(
    "other",
    [{}, {"python": "3.11.9"}, {"distributed": "2026.8.1"}, {"numpy": "9"}],
    ids=["nothing", "python-patch", "distributed-patch", "something-else"],
)
def test_versions_that_need_not_match_are_accepted(other: dict[str, str]) -> None:
    refuse_skew("A worker", {**HERE, **other}, HERE)


@pytest.mark.parametrize(
    ("other", "there", "here"),
    [
        ({"python": "3.12.1"}, "python 3.12.1", "python 3.11.7"),
        ({"prefect": "3.8.9"}, "prefect 3.8.9", "prefect 3.8.8"),
        ({"distributed": "2026.7.2"}, "distributed 2026.7.2", "distributed 2026.8.0"),
        (
            {"prefect-anyrunner": None, "python": "3.13.0"},
            "python 3.13.0 and no prefect-anyrunner",
            "python 3.11.7 and prefect-anyrunner 0.1.0",
        ),
    ],
    ids=["python", "prefect", "distributed", "two"],
)
def test_versions_that_must_match_are_named_in_a_sentence(other: dict[str, str | None], there: str, here: str) -> None:
    found = {name: version for name, version in {**HERE, **other}.items() if version is not None}
    with pytest.raises(VersionSkew) as raised:
        refuse_skew("Dask worker tcp://10.0.0.2:1", found, HERE)
    assert str(raised.value) == (
        f"Dask worker tcp://10.0.0.2:1 has {there}, this flow runs {here}: install the same on both."
    )
    again: Any
    for again in (pickle.loads(pickle.dumps(raised.value)), unpack_error(pack_error(raised.value))):
        assert (type(again), str(again), again.differing) == (VersionSkew, str(raised.value), raised.value.differing)
