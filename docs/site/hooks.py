"""What mkdocs does beyond its plugins: pages from outside docs/, their links, and a check of the reference.

The documents link to each other as files of the repository, so that they read on a code host, too. The site has those
of `OUTSIDE` beside the pages of docs/. Links to other files, such as source, become plain text there.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
OUTSIDE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "reporting.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/results.svg": "results.svg",
    "docker/README.md": "docker.md",
    "tests/conformance/README.md": "conformance.md",
    "tests/stock_suites/README.md": "stock_suites.md",
}
"""Files of the repository that the site has, with their names there."""
_FROM_NETWORK = re.compile(r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="https?://[^"]*"')
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def undocumented(reference: str) -> list[str]:
    """Return the public names of the package that the text of the reference leaves out."""
    import prefect_anyrunner
    from prefect_anyrunner import backends

    public = [f"prefect_anyrunner.{name}" for name in prefect_anyrunner._HOMES]
    public += [
        f"prefect_anyrunner.backends.{name}" for name, found in vars(backends).items() if isinstance(found, type)
    ]
    return sorted(set(public) - set(re.findall(r"^::: ([\w.]+)$", reference, re.MULTILINE)))


def on_config(config: MkDocsConfig) -> None:
    """Fail if the reference leaves out a public name."""
    from mkdocs.exceptions import PluginError

    if missing := undocumented((ROOT / "docs" / "reference.md").read_text()):
        raise PluginError(f"docs/reference.md leaves out: {', '.join(missing)}")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents from outside docs/."""
    from mkdocs.structure.files import File

    for path, name in OUTSIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let links between files of the repository lead to pages of the site."""
    places = {name: path for path, name in OUTSIDE.items()}
    folder = posixpath.dirname(places.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def on_site(link: re.Match[str]) -> str:
        target, mark, anchor = link["target"].partition("#")
        if "://" in target or not target:
            return link[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        name = OUTSIDE.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else None)
        return f"{link['image']}[{link['text']}]({name}{mark}{anchor})" if name else link["text"]

    return _LINK.sub(on_site, markdown)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Fail if a page loads anything from the network."""
    from mkdocs.exceptions import PluginError

    if found := _FROM_NETWORK.search(output):
        raise PluginError(f"{page.file.src_uri} would load from the network: {found[0]}")
    return output
