"""The code blocks of a page: each is run or at least parsed, and shown output is compared with real output.

- `python`: runs in one namespace per page, with what the page's tests share: a Prefect server, an empty folder. A block
  whose first line is a comment with a file name, `# nightly.py`, is written to that file, too.
- `output`: equals what the block before it printed; `...` stands for any text.
- `bash`: is parsed by bash, and each `anyrunner` command by its parser. In front of an `output` block it runs.
- `toml`: is parsed. `anyrunner.toml` has to be accepted by the package, with each of its named runners.
- `yaml`: is parsed.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
import subprocess
import tempfile
import tomllib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from unittest.mock import patch

import yaml
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

from prefect_anyrunner import BackendUnavailable, RunnerSpec, SpecError, cli

_FILE_NAME = re.compile(r"# (\w[\w.-]*\.(?:py|toml))\b")
_NOT_HERE = "is not installed"
"""Part of the problem of a named runner that needs a package which the tests do without."""
_python = PythonEvaluator()


def run_page(page: Path) -> int:
    """Run the code blocks of a page in their order, in the working directory, and return their number.

    Raises SybilFailure, or the error that a block raised.
    """
    document = SYBIL.parse(page)
    document.namespace["__name__"] = f"page_{page.stem}"
    examples = list(document.examples())
    for example, following in zip_longest(examples, examples[1:]):
        example.namespace["_shows_output"] = following is not None and following.region.evaluator == _output
        example.evaluate()
    return len(examples)


def _run_python(example: Example) -> None:
    if (name := _file_name(example)) is not None:
        Path(name).write_text(example.parsed)
    with _printed_of(example):
        _python(example)


def _output(example: Example) -> str | None:
    checker, flags = doctest.OutputChecker(), doctest.ELLIPSIS | doctest.REPORT_NDIFF
    printed = "".join(line.rstrip() + "\n" for line in example.namespace["_printed"].splitlines())
    if checker.check_output(example.parsed, printed, flags):
        return None
    difference: str = checker.output_difference(doctest.Example("", example.parsed), printed, flags)
    return difference


def _bash(example: Example) -> str | None:
    parsed = subprocess.run(["bash", "-n"], input=example.parsed, text=True, capture_output=True, check=False)
    if parsed.returncode != 0:
        return str(parsed.stderr)
    with _printed_of(example):
        for line in example.parsed.replace("\\\n", " ").splitlines():
            variables, words = _command(line)
            if words[:1] == ["anyrunner"] and not example.namespace["_shows_output"]:
                cli._parser().parse_args(words[1:])
            elif words[:1] == ["anyrunner"]:
                with patch.dict("os.environ", variables):
                    cli.main(words[1:])
            elif words and example.namespace["_shows_output"]:
                return f"its output cannot be checked: {line}"
    return None


def _command(line: str) -> tuple[dict[str, str], list[str]]:
    words = shlex.split(line, comments=True)
    variables = {}
    while words and re.match(r"\w+=", words[0]):
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    return variables, words


def _toml(example: Example) -> None:
    table = tomllib.loads(example.parsed)
    if _file_name(example) != "anyrunner.toml":
        return
    with tempfile.TemporaryDirectory() as folder:  # in the working directory it would choose the page's runners
        Path(folder, "anyrunner.toml").write_text(example.parsed)
        for spec in [None, *table.get("runners", {})]:
            try:
                RunnerSpec.load(spec, folder=folder)
            except (SpecError, BackendUnavailable) as error:
                if _NOT_HERE not in str(error):
                    raise


def _yaml(example: Example) -> None:
    assert all(yaml.safe_load_all(example.parsed))


def _file_name(example: Example) -> str | None:
    found = _FILE_NAME.match(example.parsed)
    return None if found is None else found[1]


@contextlib.contextmanager
def _printed_of(example: Example) -> Iterator[None]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        yield
    example.namespace["_printed"] = printed.getvalue()


SYBIL = Sybil(
    [
        CodeBlockParser("python", _run_python),
        CodeBlockParser("output", _output),
        CodeBlockParser("bash", _bash),
        CodeBlockParser("toml", _toml),
        CodeBlockParser("yaml", _yaml),
    ]
)
