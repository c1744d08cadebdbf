"""Checks of a draft against the options and addresses of its backend; all problems are reported at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from prefect_anyrunner._base.errors import SpecError
from prefect_anyrunner._base.secrets import hide, hide_in_text
from prefect_anyrunner._choosing.files import Entry
from prefect_anyrunner._choosing.parse import Draft
from prefect_anyrunner._choosing.suggest import did_you_mean
from prefect_anyrunner.backends import _builtin, _registry
from prefect_anyrunner.backends._record import Backend, Option

_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:/\[\]@?#]+)(:(?P<port>\d*))?", re.ASCII)


def check(draft: Draft) -> tuple[str, str | None, dict[str, Any]]:
    """Return backend, address and options of a draft, or raise SpecError with every problem and its place."""
    backend = _registry.get(draft.backend)
    if backend is None or (draft.scheme not in (None, draft.backend) and draft.scheme not in backend.schemes):
        raise SpecError(f"{draft.place}: {_unknown_backend(draft)}")
    problems = list(draft.problems)
    address, scheme = None, draft.scheme
    if draft.address is not None:
        address, scheme = _address(draft.address, draft.scheme, backend, problems)
    elif scheme not in (None, backend.name):
        problems.append(f"{scheme}:// needs an address, such as {scheme}://host:port")
    options: dict[str, Any] = {}
    for name, value in draft.options.items():
        option = backend.options.get(name)
        problem = (
            # The name is hidden too, because the part of a password after a question mark would be read as a query.
            _unknown_option(hide_in_text(name), backend)
            if option is None
            else _misplaced(name, option, backend, scheme, draft.address is not None, draft.options)
        )
        if option is not None and problem is None:
            try:
                options[name] = option.convert(value, text=draft.text, folder=draft.folder)
            except ValueError as error:
                # A table is not shown, because it may hold secrets under any name and explains little.
                shown = "" if isinstance(value, Mapping) else f" = {hide(value, name)!r}"
                problem = f"option {name!r}{shown} {error}"
        if problem is not None:
            problems.append(problem)
    if problems:
        raise SpecError(f"{draft.place}: {problem}" for problem in problems)
    return backend.name, address, options


def options_for_all(backend: str, given: Mapping[str, Entry]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return those options of a file that the backend has, and their places, or raise SpecError with every problem."""
    known = getattr(_registry.get(backend), "options", {})
    options, problems = {}, []
    for name, entry in given.items():
        if name in known:
            try:
                options[name] = known[name].convert(entry.value, text=False, folder=entry.folder)
            except ValueError as error:
                problems.append(f"{entry.place} = {entry.value!r} {error}")
    if problems:
        raise SpecError(problems)
    return options, {name: given[name].place for name in options}


def _address(text: str, scheme: str | None, backend: Backend, problems: list[str]) -> tuple[str | None, str | None]:
    """Return the address as the engine writes it, and its URL scheme; append mistakes in it to `problems`."""
    shown = hide_in_text(text)
    if not backend.schemes and not backend.words:
        problems.append(f"{backend.name} takes no address, got {shown!r}")
        return None, scheme
    if scheme is None:
        prefix, mark, rest = text.partition("://")
        if mark:
            spelled = {own.removesuffix("://"): url for url, own in backend.schemes.items()}
            scheme = prefix if prefix in backend.schemes else spelled.get(prefix)
            if scheme is None:
                known = ", ".join(f"{url}://" for url in backend.schemes)
                problems.append(f"address {shown!r} does not begin with one of {known}")
                return None, None
            text = rest
        else:
            scheme = backend.name
    if text in backend.words and scheme == backend.name:
        return text, scheme
    credentials, mark, host_and_port = text.rpartition("@")
    if mark and not backend.credentials:
        problems.append(f"{backend.name} understands no user and password in an address: {shown!r}")
    parts = _HOST_AND_PORT.fullmatch(host_and_port)
    port = parts["port"] if parts else None
    if parts is None:
        problems.append(f"address {shown!r} is not host:port")
    elif not port:
        words = "".join(f", nor the word {word!r}" for word in backend.words)
        problems.append(f"address {shown!r} has no port{words}; write {scheme}://{parts['host']}:PORT")
    elif not 0 < int(port) < 65536:
        problems.append(f"address {shown!r}: port {port} is not between 1 and 65535")
    return f"{backend.schemes.get(scheme, '')}{credentials}{mark}{host_and_port}", scheme


def _misplaced(
    name: str, option: Option, backend: Backend, scheme: str | None, has_address: bool, others: Mapping[str, Any]
) -> str | None:
    if option.when == "temporary" and has_address:
        return f"option {name!r} is for a {backend.name} that the flow starts; it cannot be combined with an address"
    if option.when == "address" and not has_address:
        return f"option {name!r} is for an existing {backend.name}; it needs an address"
    if option.scheme is not None and scheme != option.scheme:
        return f"option {name!r} needs {option.scheme}://"
    if clash := [other for other in option.excludes if other in others]:
        return f"option {name!r} excludes {', '.join(map(repr, clash))}"
    return None


def _unknown_option(name: str, backend: Backend) -> str:
    owners = [other.name for other in _builtin.BUILT_IN.values() if name in other.options]
    if owners:
        return f"option {name!r} belongs to {' and '.join(owners)}; {backend.name} does not have it"
    hint = did_you_mean(name, backend.options, f"; it has: {', '.join(backend.options) or 'none'}")
    return f"{backend.name} has no option {name!r}{hint}"


def _unknown_backend(draft: Draft) -> str:
    asked = draft.scheme or draft.backend
    known = list(_registry.names())
    schemes = [scheme for backend in _builtin.BUILT_IN.values() for scheme in backend.schemes if scheme not in known]
    return f"unknown backend {asked!r}{did_you_mean(asked, known + schemes)} (known: {', '.join(known)})"
