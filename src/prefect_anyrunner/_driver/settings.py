"""The settings of a runner: declared once, they give equality, pickling and duplicates (rule L1)."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, ClassVar, Self


class Settings:
    """Mixin for a runner class that declares `settings`.

    `settings` maps each argument of the class's `__init__` to the attribute that holds it, which may contain dots.
    """

    settings: ClassVar[Mapping[str, str]]

    def current_settings(self) -> dict[str, Any]:
        """Return the arguments that make another runner like this one."""
        return {argument: attrgetter(attribute)(self) for argument, attribute in self.settings.items()}

    def comparable_settings(self) -> dict[str, Any]:
        """Return the settings in a form in which equal settings are equal objects."""
        return self.current_settings()

    def duplicate(self) -> Self:
        """Return a new runner with every setting of this one, and with the attributes that a subclass has added."""
        twin = type(self).__new__(type(self))
        vars(twin).update(vars(self))
        twin.__setstate__(self.current_settings())
        return twin

    def __eq__(self, other: object) -> bool:
        declaring = _declaring_class(self)
        return isinstance(other, declaring) and self.comparable_settings() == other.comparable_settings()

    __hash__ = None  # type: ignore[assignment]  # as Prefect's runners are: equal by settings, so not hashable

    def __getstate__(self) -> dict[str, Any]:
        return self.current_settings()

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Through the class that declares the settings, because a user's subclass may take other arguments.
        _declaring_class(self).__init__(self, **state)


def _declaring_class(runner: Settings) -> type[Settings]:
    return next(cls for cls in type(runner).__mro__ if "settings" in vars(cls))
