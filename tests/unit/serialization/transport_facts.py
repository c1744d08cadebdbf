"""The facts of an exception that must be the same on both sides, and a process that packs or unpacks all cases.

    python -m tests.unit.serialization.transport_facts pack|check FILE [--tblib]

`pack` raises each, and writes its facts and its packed bytes; `check` unpacks each, and prints its facts as JSON.
`--tblib` installs tblib's global reducers first, as importing distributed does.
"""

import json
import pickle
import re
import sys
import traceback
import types
from typing import Any

from prefect_anyrunner._serialization.nodes import StandIn
from prefect_anyrunner._serialization.pack import pack_error
from prefect_anyrunner._serialization.unpack import unpack_error
from tests.unit.serialization.transport_cases import CASES, raised


def text_of(value: object) -> str:
    try:
        return without_address(str(value))
    except RuntimeError as problem:
        return f"raises {problem!r}"


def plain(value: object) -> Any:
    """Return a picture of `value` that is equal for equal values in any process."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(plain, value)]
    if issubclass(type(value), BaseException):
        return f"{type(value).__qualname__}: {text_of(value)}"
    return without_address(repr(value))


def without_address(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", text)[:1000]


def facts(exc: BaseException, path: tuple[int, ...] = ()) -> dict[str, Any]:
    """Return what must be the same on both sides."""
    attributes = dict(BaseException.__dict__["__dict__"].__get__(exc))
    notes = attributes.pop("__notes__", [])
    found = {
        "type": f"{type(exc).__module__}.{type(exc).__qualname__}",
        "text": text_of(exc),
        "args": plain(BaseException.__dict__["args"].__get__(exc)),
        "attributes": plain(attributes),
        "fields": {},
        "notes": notes,
        "suppress": BaseException.__dict__["__suppress_context__"].__get__(exc),
        "lines": [
            (frame.filename, frame.name, frame.lineno)
            for frame in traceback.extract_tb(BaseException.__dict__["__traceback__"].__get__(exc))
        ],
    }
    for owner in type(exc).__mro__:
        if owner in (BaseException, object) or issubclass(owner, BaseExceptionGroup):
            continue
        for name, field in vars(owner).items():
            if isinstance(field, types.MemberDescriptorType | types.GetSetDescriptorType) and name[:2] != "__":
                try:
                    value = field.__get__(exc)
                except (AttributeError, TypeError):
                    value = "unset"
                found["fields"][name] = plain(value) if name != "obj" else None
    if len(path) < 6:
        for name in ("__cause__", "__context__"):
            other = BaseException.__dict__[name].__get__(exc)
            if other is not None:
                found[name] = "cycle" if id(other) in path else facts(other, (*path, id(exc)))
        if issubclass(type(exc), BaseExceptionGroup):
            found["members"] = [facts(member, (*path, id(exc))) for member in exc.exceptions]  # type: ignore[attr-defined]
    return found


def mro_names(exc: BaseException) -> list[str]:
    return [f"{cls.__module__}.{cls.__qualname__}" for cls in type(exc).__mro__]


def main(what: str, file: str, *options: str) -> None:
    if "--tblib" in options:
        from tblib import pickling_support

        pickling_support.install()
    if what == "pack":
        each = ((name, raised(name)) for name in CASES)
        packed = {name: (facts(error), pack_error(error)) for name, error in each}
        with open(file, "wb") as target:
            pickle.dump(packed, target)
        return
    with open(file, "rb") as source:
        packed = pickle.load(source)
    arrived = {}
    for name, (_, data) in packed.items():
        error = unpack_error(data)
        again = pickle.loads(pickle.dumps(error)) if issubclass(type(error), StandIn) else error
        arrived[name] = (facts(error), issubclass(type(error), StandIn), mro_names(error), facts(again))
    print(json.dumps(arrived))


if __name__ == "__main__":
    main(*sys.argv[1:])
