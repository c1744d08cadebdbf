"""The pages name what the package has: each option with its backend, each public name with a docstring, each status."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from prefect_anyrunner.backends import Backend, _builtin

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "reference.md").read_text()


def site_hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", DOCS / "site" / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options_in(section: str) -> set[str]:
    """Return the options of the tables in a section of the page about choosing."""
    page = (DOCS / "choosing.md").read_text()
    text = page.partition(f"\n### {section}\n")[2].partition("\n### ")[0]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize("backend", _builtin.BUILT_IN.values(), ids=lambda backend: backend.name)
def test_the_page_has_every_option(backend: Backend) -> None:
    assert options_in(backend.name) == set(backend.options) - set(_builtin.SHARED)
    assert options_in("All four") == set(_builtin.SHARED)


def test_the_reference_has_every_public_name() -> None:
    assert site_hooks().undocumented(REFERENCE) == []


def test_the_site_has_the_documents_that_it_names() -> None:
    for path in site_hooks().OUTSIDE:
        assert (DOCS.parent / path).is_file(), path


@pytest.mark.parametrize("dotted", re.findall(r"^::: ([\w.]+)$", REFERENCE, re.MULTILINE))
def test_it_has_docstrings(dotted: str) -> None:
    module, _, name = dotted.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert (found.__doc__ or "").strip(), f"{dotted} has no docstring"
    if inspect.isclass(found):
        members = {
            name: member.fget if isinstance(member, property) else member
            for name, member in vars(found).items()
            if not name.startswith("_") and (isinstance(member, property | classmethod) or inspect.isfunction(member))
        }
        without = [name for name, member in members.items() if not (member.__doc__ or "").strip()]
        assert not without, f"{dotted} has members without a docstring"
