"""What we rely on in cloudpickle beyond its documentation: a release that moves it fails here, with a sentence.

All of it is used in `_serialization/pickler.py`, except for the registry of modules, which is public but undocumented.
"""

from __future__ import annotations

import io
import types
from typing import Any

import cloudpickle


class Reducing(cloudpickle.Pickler):  # type: ignore[misc]
    """Keeps how cloudpickle would pickle the classes that it meets."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self.found: dict[type, Any] = {}

    def reducer_override(self, obj: Any) -> Any:
        reduced = super().reducer_override(obj)
        if isinstance(obj, type):
            self.found[obj] = reduced
        return reduced


def local_class() -> type:
    class Local:
        pass

    return Local


def test_the_pickler_calls_reducer_override_for_classes() -> None:
    local = local_class()
    pickler = Reducing()
    pickler.dump([local])
    assert local in pickler.found, (
        "cloudpickle's pickler no longer asks reducer_override about classes: exceptions, tracebacks and classes of "
        "__main__ in pickler.py need another hook"
    )


def test_a_class_by_value_is_reduced_to_six_parts() -> None:
    local = local_class()
    pickler = Reducing()
    pickler.dump([local])
    reduced = pickler.found[local]
    assert isinstance(reduced, tuple) and len(reduced) == 6 and callable(reduced[5]), (
        "cloudpickle reduces a class by value to something else than (make, args, state, None, None, fill): "
        "_keep_own_class in pickler.py no longer protects the sender's own class"
    )
    made = reduced[0](*reduced[1])
    assert reduced[5](made, reduced[2]) is made is local, (
        "cloudpickle's functions that make and fill a class work otherwise: compare _fill_class in pickler.py with them"
    )


def test_a_class_by_reference_is_left_to_the_pickler() -> None:
    pickler = Reducing()
    pickler.dump([dict])
    assert pickler.found[dict] is NotImplemented, (
        "cloudpickle answers otherwise for a class by reference: _keep_own_class in pickler.py must still know it"
    )


def test_code_objects_have_a_reducer_that_makes_them() -> None:
    code = test_code_objects_have_a_reducer_that_makes_them.__code__
    reducer = cloudpickle.Pickler(io.BytesIO()).dispatch_table.get(types.CodeType)
    assert reducer is not None, (
        "cloudpickle's dispatch_table has no reducer for code objects: pickler.py cannot keep their file names"
    )
    reduced = reducer(code)
    assert len(reduced) == 2 and isinstance(reduced[0](*reduced[1]), types.CodeType), (
        "cloudpickle reduces a code object to something else than (make, args): compare pickler.py with it"
    )


def test_modules_pickled_by_value_can_be_listed() -> None:
    assert hasattr(cloudpickle, "list_registry_pickle_by_value"), (
        "cloudpickle no longer lists the modules that it pickles by value: see who asks for them, in "
        "_serialization/pack.py and _driver/modules.py"
    )
