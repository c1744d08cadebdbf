"""Exception classes that are hard to carry to another process, and objects that they hold."""

import dataclasses
import enum
import threading
from typing import Any, Never

import pydantic


class Color(enum.Enum):
    RED = 1


class Plain(ValueError):
    pass


class TwoArguments(Exception):
    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"{left} is not {right}")
        self.left, self.right = left, right


class KeywordOnly(LookupError):
    def __init__(self, *, code: int) -> None:
        super().__init__()
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


class NoArguments(Exception):
    def __init__(self) -> None:
        super().__init__("always this")


class Forgetful(Exception):
    """Does not pass its arguments to its bases."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return f"forgot {self.name}"


class Slotted(Exception):
    __slots__ = ("place", "unset")

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


class OwnReduce(Exception):
    def __init__(self, text: str, *, detail: int) -> None:
        super().__init__(text)
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        return _own_reduce, (self.args[0], self.detail)


def _own_reduce(text: str, detail: int) -> OwnReduce:
    return OwnReduce(text, detail=detail)


class LossyReduce(Exception):
    def __init__(self, text: str, detail: int = 0) -> None:
        super().__init__(text)
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        return LossyReduce, (self.args[0],)


class LeavesLockOut(Exception):
    """Defines how it is pickled without its lock."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return LeavesLockOut, (self.args[0],)


class DropsLock(Exception):
    """Defines how it is pickled, without the attributes that others set."""

    lock: Any

    def __reduce__(self) -> tuple[Any, ...]:
        return DropsLock, self.args


class Denied(PermissionError):
    def __init__(self, *, who: str) -> None:
        super().__init__(13, f"{who} is denied")
        self.who = who


class Unshown:
    """Its repr holds its address."""


class RaisingReduce(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        raise RuntimeError("no reduce")


class RefusesToUnpickle(Exception):
    def __setstate__(self, state: Any) -> None:
        raise RuntimeError("no setstate")


class RaisingInit(Exception):
    armed = False

    def __init__(self, *args: object) -> None:
        if not RaisingInit.armed:
            raise RuntimeError("no init")
        super().__init__(*args)


class RaisingNew(Exception):
    armed = False

    def __new__(cls, *args: object) -> "RaisingNew":
        if not RaisingNew.armed:
            raise RuntimeError("no new")
        return super().__new__(cls, *args)


class RaisingStr(ValueError):
    def __str__(self) -> str:
        raise RuntimeError("no str")

    __repr__ = __str__


class RaisingEq(Exception):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no eq")


class Hostile(ValueError):
    """Raises at every access."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no attribute")

    def __setattr__(self, name: str, value: Any) -> None:
        raise RuntimeError("no attribute")

    def __str__(self) -> str:
        return "hostile"


class Liar(ValueError):
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return int


class HoldsLock(ValueError):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()
        self.code = 7


class HoldsLockBase(BaseException):
    def __init__(self) -> None:
        super().__init__("base")
        self.lock = threading.Lock()


class Registry(type):
    """Takes one class and no more."""

    count = 0

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> "Registry":
        mcs.count += 1
        if mcs.count > 1:
            raise RuntimeError("no more classes")
        return super().__new__(mcs, name, bases, body)


class OfRegistry(ValueError, metaclass=Registry):
    def __init_subclass__(cls) -> None:
        raise RuntimeError("no subclass")

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class DeepTrouble(HoldsLock, OSError):
    """Two builtin bases, of which the second gives the layout."""


class ShadowsField(OSError):
    @property
    def filename(self) -> str:
        return "always this file"


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int
    names: list[str]


class Group(ExceptionGroup[Exception]):
    """Takes more than message and members, and keeps it when split."""

    code: int

    def __new__(cls, message: str, members: list[Exception], code: int) -> "Group":
        made = super().__new__(cls, message, members)
        made.code = code
        return made

    def __init__(self, message: str, members: list[Exception], code: int) -> None:
        super().__init__(message, members)

    def derive(self, members: Any) -> Any:
        return Group(self.message, members, self.code)


class LockedGroup(ExceptionGroup[Exception]):
    lock: Any

    def derive(self, members: Any) -> Any:
        with self.lock:
            return LockedGroup(self.message, members)


class Model(pydantic.BaseModel):
    size: int


class Unloadable:
    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> Never:
    raise RuntimeError("refuses to be unpickled")
