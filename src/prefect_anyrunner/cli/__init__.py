"""The command `anyrunner`: `show`, `run`, `compare`, `report`, `conform`, `audit`, `events`.

Exit codes: 0 for success; 1 when the flow failed, the runners disagree, a rule is broken or accounts do not balance; 2
for wrong input, with one sentence and no traceback; 130 after Ctrl-C, 143 after SIGTERM.

Each command is imported when it is called, so that help and usage errors come without the seconds that Prefect takes.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from prefect_anyrunner import __version__
from prefect_anyrunner._base.errors import AnyRunnerError
from prefect_anyrunner.cli.usage_error import UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (the arguments of this process by default) and return its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
    except (UsageError, AnyRunnerError) as error:
        print(f"anyrunner: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("anyrunner: interrupted", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anyrunner", description="Run a Prefect flow on any task runner: threads, processes, Dask, Ray."
    )
    parser.add_argument("--version", action="version", version=f"prefect-anyrunner {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    show = commands.add_parser(
        "show", help="print the runner in effect, where its settings come from, and all backends"
    )
    show.add_argument(
        "spec", metavar="SPEC", nargs="?", help="a URL, backend or named runner instead of the one in effect"
    )
    how = show.add_mutually_exclusive_group()
    how.add_argument(
        "--check", action="store_true", help="start the runner, and print all of its options and its workers"
    )
    how.add_argument(
        "--json", action="store_true", help="print JSON, with versions and platform, as a bug report needs"
    )
    show.set_defaults(command=_show)

    run = commands.add_parser("run", help="run a flow once")
    _add_flow(run)
    run.add_argument(
        "--runner", metavar="SPEC", help="URL, backend or named runner; the default is the one that `show` prints"
    )
    run.add_argument(
        "--report",
        metavar="FILE",
        action="append",
        default=[],
        help="write what became of the task runs to this file: .html, .json, .csv, .md, .txt, or .xml for JUnit",
    )
    run.set_defaults(command=_run)

    compare = commands.add_parser("compare", help="run a flow on several runners and compare the results")
    _add_flow(compare)
    compare.add_argument("--on", metavar="SPEC,SPEC", required=True, action="append", help="runners, comma-separated")
    compare.add_argument("--keep-logs", metavar="FOLDER", help="write the output of each run to a file in this folder")
    compare.add_argument("--json", action="store_true", help="print JSON instead of a table")
    compare.set_defaults(command=_compare)

    report = commands.add_parser("report", help="say what became of the task runs of a past flow run")
    report.add_argument("flow_run", metavar="FLOW_RUN", help="the id of a flow run, or the address of its page")
    shape = report.add_mutually_exclusive_group()
    shape.add_argument(
        "--format",
        choices=("text", "markdown", "json", "html", "csv", "junit"),
        default="text",
        help="what is printed (default: text)",
    )
    shape.add_argument("-o", dest="file", metavar="FILE", help="write it to this file, as `run --report` does")
    report.set_defaults(command=_report)

    audit = commands.add_parser("audit", help="check that the API says how each task run of a flow run ended")
    audit.add_argument("flow_run", metavar="FLOW_RUN", help="the id of a flow run that has ended")
    audit.add_argument("--states", action="store_true", help="also read the states of each run, a question for each")
    audit.add_argument(
        "--repair",
        action="store_true",
        help="give task runs without an end one: that of the journal, or Cancelled or Crashed",
    )
    audit.add_argument(
        "--gone", action="store_true", help="the process of the flow run was killed: end the flow run as Crashed first"
    )
    audit.set_defaults(command=_audit)

    events = commands.add_parser("events", help="send what a flow run could not bring into the API")
    send = events.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "send", help="send the file that a warning of the flow run named"
    )
    send.add_argument("file", metavar="FILE")
    send.set_defaults(command=_send_events)

    conform = commands.add_parser("conform", help="check runners against the table of rules")
    conform.add_argument(
        "runners", metavar="SPEC", nargs="+", help="a runner, such as dask, stock+dask, my://host:1234"
    )
    conform.add_argument(
        "--rule", metavar="ID", action="append", default=[], help="check only this rule or case; may be repeated"
    )
    conform.add_argument(
        "--seconds", type=float, default=150.0, help="seconds until a case counts as hung (default: 150)"
    )
    conform.add_argument("--json", metavar="FILE", help="write the reports to this file")
    conform.add_argument("--compare", metavar="FILE", help="print what has changed since the reports in this file")
    conform.set_defaults(command=_conform)
    return parser


def _add_flow(command: argparse.ArgumentParser) -> None:
    command.add_argument("flow", metavar="FILE:FLOW", help="the flow, such as nightly.py:nightly")
    command.add_argument(
        "-p",
        "--param",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a parameter of the flow; VALUE is read as JSON, or as text if it is not JSON; may be repeated",
    )


def _show(arguments: argparse.Namespace) -> int:
    from prefect_anyrunner.cli.show import show

    return show(arguments.spec, check=arguments.check, as_json=arguments.json)


def _run(arguments: argparse.Namespace) -> int:
    from prefect_anyrunner.cli.run import run

    return run(arguments.flow, arguments.param, arguments.runner, arguments.report)


def _compare(arguments: argparse.Namespace) -> int:
    from prefect_anyrunner.cli.compare import compare

    specs = [text.strip() for group in arguments.on for text in group.split(",") if text.strip()]
    return compare(arguments.flow, arguments.param, specs, as_json=arguments.json, keep_logs=arguments.keep_logs)


def _report(arguments: argparse.Namespace) -> int:
    from prefect_anyrunner.cli.report import report

    return report(arguments.flow_run, style=arguments.format, file=arguments.file)


def _audit(arguments: argparse.Namespace) -> int:
    from prefect_anyrunner.cli.audit import audit

    return audit(arguments.flow_run, histories=arguments.states, mend=arguments.repair, gone=arguments.gone)


def _send_events(arguments: argparse.Namespace) -> int:
    from prefect_anyrunner.cli.events import send

    return send(arguments.file)


def _conform(arguments: argparse.Namespace) -> int:
    from prefect_anyrunner.cli.conform import run

    def end(*_: object) -> NoReturn:
        raise SystemExit(143)  # the exit code that a shell reports for SIGTERM, after engines and server have stopped

    signal.signal(signal.SIGTERM, end)
    return run(
        arguments.runners,
        rules=arguments.rule,
        seconds=arguments.seconds,
        json_file=arguments.json,
        compare_file=arguments.compare,
    )
