"""The parts of an exception, read and written past everything that its class overrides.

All functions go through the descriptors of `type` and `BaseException`, so that a hostile `__getattribute__`, a lying
`__class__` or a metaclass does not run, and nothing raises because of them. Tracebacks are rebuilt here and not by
tblib, because tblib loses the columns, and with them the marks under the code.
"""

import ast
import itertools
import types
from collections.abc import Callable
from typing import Any

MAX_FRAMES = 100
"""Maximum number of frames of one traceback."""


_HEAP_TYPE = 1 << 9
_NOT_INSTANTIABLE = 1 << 7
_type_flags = type.__dict__["__flags__"].__get__
_type_size = type.__dict__["__basicsize__"].__get__
_type_base = type.__dict__["__base__"].__get__
_type_mro = type.__dict__["__mro__"].__get__
_type_dict = type.__dict__["__dict__"].__get__
_raw_dict = BaseException.__dict__["__dict__"].__get__


FrameFacts = tuple[str, str, str | None, tuple[int, int, int, int]]
"""File, function, module, and the place in the file: line, end line, column, end column; -1 for unknown columns."""


def mro(cls: type) -> tuple[type, ...]:
    """Return the real MRO of `cls`."""
    found: tuple[type, ...] = _type_mro(cls)
    return found


def namespace(cls: type) -> types.MappingProxyType[str, Any]:
    """Return the real namespace of `cls`."""
    found: types.MappingProxyType[str, Any] = _type_dict(cls)
    return found


def names_of(cls: type) -> tuple[str, str, str]:
    """Return `(name, qualname, module)` of a class as exact strings."""
    found = []
    for key in ("__name__", "__qualname__", "__module__"):
        value = type.__dict__[key].__get__(cls)
        found.append(str.__str__(value) if isinstance(value, str) else "?")
    return found[0], found[1], found[2]


def attributes(exc: BaseException) -> dict[str, Any]:
    """Return the instance's real `__dict__`."""
    found: dict[str, Any] = _raw_dict(exc)
    return found


def get(name: str, exc: BaseException) -> Any:
    """Read `args`, `__cause__`, `__context__`, `__suppress_context__` or `__traceback__` of `exc`."""
    return BaseException.__dict__[name].__get__(exc)


def put(name: str, exc: BaseException, value: Any) -> None:
    """Set the attribute that `get` reads."""
    BaseException.__dict__[name].__set__(exc, value)


def is_static(cls: type) -> bool:
    """Return whether a class is part of the interpreter or of a C extension, and not made at run time."""
    return not _type_flags(cls) & _HEAP_TYPE


def builtin_base(cls: type) -> type:
    """Return the C class that gives instances of `cls` their memory layout."""
    while not is_static(cls):
        cls = _type_base(cls)
    return cls


def can_be_made_bare(cls: type) -> bool:
    """Return whether an instance can be made without running any code of the class.

    It can if all memory beyond the builtin base belongs to `__slots__`, `__dict__` and `__weakref__`. A class written
    in C or Rust, such as pydantic's `ValidationError`, may hold more memory, and reading it unset kills the process.
    """
    while not is_static(cls):
        if _type_flags(cls) & _NOT_INSTANTIABLE:
            return False
        base: type = _type_base(cls)
        own = namespace(cls)
        words = sum(type(value) is types.MemberDescriptorType for value in own.values())
        words += ("__dict__" in own) + ("__weakref__" in own)
        if _type_size(cls) - _type_size(base) > 8 * words:
            return False
        cls = base
    return names_of(cls)[2] == "builtins"


def make_bare(cls: type[BaseException], group: tuple[str, tuple[BaseException, ...]] | None = None) -> BaseException:
    """Return an empty instance of `cls`. `group`: message and members, which a group needs from the start."""
    maker: Callable[..., BaseException] = builtin_base(cls).__new__
    return maker(cls, *group) if group else maker(cls)


def fields(cls: type) -> dict[str, Any]:
    """Return the descriptors of values outside `__dict__`, by name: slots, and C fields such as `errno`."""
    found: dict[str, Any] = {}
    for owner in mro(cls):
        if owner is BaseException or owner is object:  # `get` reads args, chain and traceback
            continue
        for name, value in namespace(owner).items():
            is_field = type(value) is types.MemberDescriptorType or type(value) is types.GetSetDescriptorType
            is_known = name in ("__dict__", "__weakref__") or owner is BaseExceptionGroup
            if is_field and not is_known:
                found.setdefault(name, value)
    return found


def group_parts(exc: BaseException) -> tuple[str, tuple[BaseException, ...]]:
    """Return the real message and members of a group."""
    own = namespace(BaseExceptionGroup)
    return own["message"].__get__(exc), own["exceptions"].__get__(exc)


def field_values(exc: BaseException) -> dict[str, Any]:
    """Return the values of the fields that are set, by name."""
    found = {}
    for name, field in fields(type(exc)).items():
        try:
            found[name] = field.__get__(exc)
        except (AttributeError, TypeError):  # never set
            continue
    return found


def set_fields(exc: BaseException, values: dict[str, Any]) -> None:
    """Set fields, except from None to None, because an `OSError` would print a filename that was set to None."""
    descriptors = fields(type(exc))
    for name, value in values.items():
        field = descriptors.get(name)
        if field is None:
            continue
        try:
            if value is None and field.__get__(exc) is None:
                continue
            field.__set__(exc, value)
        except (AttributeError, TypeError):  # read-only, or unset and None
            continue


def has_own_reduce(cls: type) -> bool:
    """Return whether a class, or one of its bases that is not builtin, defines how it is pickled."""
    special = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")
    return any(name in namespace(owner) for owner in mro(cls) if not is_static(owner) for name in special)


def frames(tb: types.TracebackType | None) -> list[FrameFacts]:
    """Return the facts that a traceback prints, frame by frame; of a long one, only the first and the last frames."""
    items: list[types.TracebackType] = []
    while tb is not None:
        items.append(tb)
        tb = tb.tb_next
    if len(items) <= MAX_FRAMES:
        return [_frame(item) for item in items]
    head = MAX_FRAMES // 2
    tail = MAX_FRAMES - head - 1
    mark: FrameFacts = (f"<{len(items) - head - tail} frames left out>", "...", None, (1, 1, -1, -1))
    return [*map(_frame, items[:head]), mark, *map(_frame, items[-tail:])]


def _frame(tb: types.TracebackType) -> FrameFacts:
    code = tb.tb_frame.f_code
    module = tb.tb_frame.f_globals.get("__name__")
    places = itertools.islice(code.co_positions(), tb.tb_lasti // 2, None) if tb.tb_lasti >= 0 else iter(())
    line, end_line, column, end_column = next(places, (None,) * 4)
    if line is None or end_line is None or column is None or end_column is None or line != tb.tb_lineno:
        line = end_line = tb.tb_lineno or 1  # some compiled frames have no line
        column = end_column = -1
    place = (line, end_line, column, end_column)
    return code.co_filename, code.co_name, module if type(module) is str else None, place


def traceback_from(facts: list[FrameFacts]) -> types.TracebackType | None:
    """Return a traceback that prints as the one that `frames` read, with the marks under the code."""
    tb = None
    for file, function, module, place in reversed(facts):
        where: dict[str, Any] = dict(zip(("lineno", "end_lineno", "col_offset", "end_col_offset"), place, strict=True))
        # `raise None` at that place, because only code that raises makes a traceback entry.
        statement = ast.Raise(exc=ast.Constant(value=None, **where), cause=None, **where)
        code = compile(ast.Module(body=[statement], type_ignores=[]), file, "exec").replace(co_name=function)
        try:
            exec(code, {"__file__": file, "__name__": module})
        except TypeError as raised:
            entry = raised.__traceback__
            assert entry is not None and entry.tb_next is not None
            entry.tb_next.tb_next = tb
            tb = entry.tb_next
    return tb
