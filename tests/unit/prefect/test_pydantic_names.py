"""What we rely on in pydantic beyond its documentation: a release that moves it fails here, with a sentence.

All of it is used in `_prefect/models.py`, which makes and copies models without running pydantic's code.
"""

from __future__ import annotations

from typing import Any

import pytest
from prefect.client.schemas.objects import State, StateDetails, TaskRun, TaskRunPolicy
from pydantic import BaseModel, ConfigDict, PrivateAttr

SLOTS = {"__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"}


class Small(BaseModel):
    size: int = 0


class WithMore(BaseModel):
    model_config = ConfigDict(extra="allow")
    _seen: int = PrivateAttr(default=3)


def test_a_model_is_its_fields_and_three_slots() -> None:
    assert set(BaseModel.__slots__) == SLOTS, (
        f"pydantic keeps a model in {sorted(BaseModel.__slots__)}: copy_with must copy all of these"
    )


@pytest.mark.parametrize("kind", [TaskRun, State, StateDetails, TaskRunPolicy])
def test_prefect_adds_no_slots_to_its_models(kind: Any) -> None:
    added = {name for owner in kind.__mro__ if owner is not BaseModel for name in owner.__dict__.get("__slots__", ())}
    assert not added, f"{kind.__name__} keeps {sorted(added)} outside its fields: copy_with must copy these too"


def test_fields_stand_in_the_dict_of_a_model() -> None:
    assert vars(Small(size=1)) == {"size": 1}, "pydantic keeps fields elsewhere than _prefect/models.py reads them"


def test_slots_are_empty_where_a_model_has_nothing_more() -> None:
    plain, more = Small(size=1), WithMore(other=1)  # type: ignore[call-arg]
    said = "differences in _prefect/models.py takes a model for a plain one, or for one with more, by these attributes"
    assert not plain.__pydantic_private__ and not plain.__pydantic_extra__, said
    assert more.__pydantic_private__ == {"_seen": 3} and more.__pydantic_extra__ == {"other": 1}, said
    assert plain.__pydantic_fields_set__ == plain.model_fields_set == {"size"}, said
