"""Fast copies of Prefect's models, and task runs as their differences from a template.

Unpickling a whole TaskRun calls a constructor for each nested model, id and timestamp. On a worker, that took half
of the time outside Prefect's task engine, although most fields are the same in all runs of a task.

Only this file relies on pydantic's internals. `tests/unit/prefect/test_pydantic_names.py` fails with a clear message
when a release changes them.
"""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID, SafeUUID

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)
_OWN = (list, dict, set)
"""Mutable types: two models never share a value of these."""
_new, _set = object.__new__, object.__setattr__


def differences(model: BaseModel, template: BaseModel) -> tuple[Any, ...] | None:
    """Return the fields of `model` that differ from `template`, a model of the same class, for `restored`.

    Return None if the two differ in more than the values of fields.
    """
    if model.model_fields_set != template.model_fields_set or model.__pydantic_private__ or model.__pydantic_extra__:
        return None
    fields: dict[str, Any] = {}
    ids: dict[str, int] = {}
    models: dict[str, Any] = {}
    others = vars(template)
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


def restored(changes: tuple[Any, ...], template: BaseModel) -> Any:
    """Return the model whose differences from `template` are `changes`; the two share no mutable value."""
    fields, ids, models = changes
    for name, number in ids.items():
        one = fields[name] = _new(UUID)  # as pickle does: `__init__` would check it again
        _set(one, "int", number)
        _set(one, "is_safe", SafeUUID.unknown)
    for name, each in models.items():
        fields[name] = restored(each, getattr(template, name))
    return copy_with(template, fields)


def copy_with(model: M, fields: dict[str, Any]) -> M:
    """Return a copy of `model` with other values in some fields. Prefect's own `model_copy` changes id and time."""
    other = _new(type(model))
    _set(other, "__dict__", {**vars(model), **fields})
    _set(other, "__pydantic_fields_set__", set(model.model_fields_set))
    _set(other, "__pydantic_extra__", model.__pydantic_extra__)
    _set(other, "__pydantic_private__", model.__pydantic_private__)
    return other
