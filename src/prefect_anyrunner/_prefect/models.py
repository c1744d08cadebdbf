"""Prefect's models as they are made and copied for every task; a task run travels as how it differs from another one.

Whole, it comes back by code of its own for each model, id and time in it. On a worker that was half of all that is not
Prefect's engine, and most of it is the same from one run of a task to the next.
"""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID, SafeUUID

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)
_OWN = (list, dict, set)
"""Types of values that are each model's own, however alike."""
_new, _set = object.__new__, object.__setattr__


def differences(model: BaseModel, like: BaseModel) -> tuple[Any, ...] | None:
    """Return what is not the same in `like`, a model of the same class, for `restored`; None if that cannot be told."""
    if model.model_fields_set != like.model_fields_set or model.__pydantic_private__ or model.__pydantic_extra__:
        return None
    fields: dict[str, Any] = {}
    ids: dict[str, int] = {}
    models: dict[str, Any] = {}
    others = vars(like)
    for name, value in vars(model).items():
        other = others[name]
        kind = type(value)
        if kind is not type(other):
            fields[name] = value
        elif isinstance(value, BaseModel):
            if models.setdefault(name, differences(value, other)) is None:
                return None
        elif kind in _OWN or (value is not other and value != other):
            if kind is UUID:
                ids[name] = value.int
            else:
                fields[name] = value
    return fields, ids, models


def restored(told: tuple[Any, ...], like: BaseModel) -> Any:
    """Return the model whose differences from `like` were `told`; nothing that can change is shared with that."""
    fields, ids, models = told
    for name, number in ids.items():
        one = fields[name] = _new(UUID)  # as when it is pickled; its `__init__` would check what was checked
        _set(one, "int", number)
        _set(one, "is_safe", SafeUUID.unknown)
    for name, each in models.items():
        fields[name] = restored(each, getattr(like, name))
    return copy_with(like, fields)


def copy_with(model: M, fields: dict[str, Any]) -> M:
    """Return a copy of `model` with other values in some fields; Prefect's own `model_copy` changes id and time."""
    other = _new(type(model))
    _set(other, "__dict__", {**vars(model), **fields})
    _set(other, "__pydantic_fields_set__", set(model.model_fields_set))
    _set(other, "__pydantic_extra__", model.__pydantic_extra__)
    _set(other, "__pydantic_private__", model.__pydantic_private__)
    return other
