"""Drafts of a specification, from a URL or a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from prefect_anyrunner._base.errors import SpecError
from prefect_anyrunner._base.secrets import hide_in_text
from prefect_anyrunner.backends import _registry


@dataclass(frozen=True)
class Draft:
    """A spec that has not been checked. `text`: whether it was a URL, so that every option is text."""

    backend: str
    place: str
    scheme: str | None = None
    address: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    text: bool = False
    folder: Path | None = None
    problems: tuple[str, ...] = ()

    def places(self) -> dict[str, str]:
        """Return the place of each part: the same for all, because a spec is one text or one table."""
        parts = ["backend", *(["address"] if self.address else []), *self.options]
        return dict.fromkeys(parts, self.place)


def parse_url(url: str, place: str) -> Draft:
    """Return the draft that a URL describes; mistakes in its form become problems of the draft."""
    scheme, _, rest = url.partition("://")
    rest, mark, _ = rest.partition("#")
    address, _, query = rest.partition("?")
    problems = ["a runner URL has no #fragment"] if mark else []
    if address.endswith("/"):
        address = address[:-1]
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in options:
            problems.append(f"option {hide_in_text(name)!r} is given twice")
        options[name] = value
    for part in query.split("&"):
        if part and "=" not in part:
            problems.append(f"option {hide_in_text(unquote(part))!r} has no value")
            options.pop(unquote(part), None)
    scheme = scheme.lower()
    return Draft(
        _registry.of_scheme(scheme),
        f"{place} ({hide_in_text(url)})",
        scheme=scheme,
        address=unquote(address) or None,
        options=options,
        text=True,
        problems=tuple(problems),
    )


def draft_of_mapping(mapping: Mapping[str, Any], place: str, folder: Path | None) -> Draft:
    """Return the draft that a mapping describes; `folder` is where its relative paths start. Raises SpecError."""
    options = {str(key): value for key, value in mapping.items() if key not in ("backend", "address")}
    problems = []
    backend, address = mapping.get("backend"), mapping.get("address")
    if not isinstance(backend, str) or not backend:
        problems.append("'backend' is missing" if backend is None else "'backend' is not a name")
    if address is not None and not isinstance(address, str):
        problems.append("'address' is not text")
    if problems:
        raise SpecError(f"{place}: {problem}" for problem in problems)
    return Draft(str(backend), place, address=address, options=options, folder=folder)
