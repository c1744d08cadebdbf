"""The command `anyrunner`: `show`, `run`, `compare`, `conform`.

Exit codes: 0 when all is well; 1 when the flow failed, or the runners disagree; 2 for bad input, in one sentence and
without a traceback; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from prefect_anyrunner._base.errors import AnyRunnerError, EngineUnreachable
from prefect_anyrunner._choosing.runner import AnyTaskRunner
from prefect_anyrunner._choosing.spec import RunnerSpec
from prefect_anyrunner.cli.load import BadInput, check_reachable, load_flow, read_parameters
from prefect_anyrunner.cli.run import run_flow, without_second_traceback


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (the process's own by default) and return its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.command(arguments)
    except (BadInput, AnyRunnerError) as error:
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
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    show = commands.add_parser("show", help="the effective runner, where each value came from, what is installed")
    show.set_defaults(command=_show)

    run = commands.add_parser("run", help="run a flow once")
    _takes_flow(run)
    run.add_argument("--runner", metavar="SPEC", help="URL, backend or named runner; without it, as `show` says")
    run.set_defaults(command=_run)

    compare = commands.add_parser("compare", help="run a flow on several runners and compare what comes out")
    _takes_flow(compare)
    compare.add_argument(
        "--on", metavar="SPEC,SPEC", required=True, action="append", help="the runners, separated by commas"
    )
    compare.add_argument("--json", action="store_true", help="print JSON instead of a table")
    compare.set_defaults(command=_compare)

    conform = commands.add_parser("conform", help="put runners to the table of rules, and say what they keep and break")
    conform.add_argument("runners", metavar="SPEC", nargs="+", help="such as dask, stock+dask, my://host:1234")
    conform.add_argument("--rule", metavar="ID", action="append", default=[], help="only this rule or case; repeatable")
    conform.add_argument("--seconds", type=float, default=150.0, help="after how long a case has hung (150)")
    conform.add_argument("--json", metavar="FILE", help="where the reports go; other runners' reports in it stay")
    conform.add_argument("--markdown", metavar="FILE", help="where the matrix goes, between its markers if it has them")
    conform.add_argument("--compare", metavar="FILE", help="reports of an earlier run: say what has changed")
    conform.set_defaults(command=_conform)
    return parser


def _takes_flow(command: argparse.ArgumentParser) -> None:
    command.add_argument("flow", metavar="FILE:FLOW", help="such as nightly.py:nightly")
    command.add_argument(
        "-p",
        "--param",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a parameter of the flow, as often as needed; the value is JSON, or else text",
    )


def _show(_: argparse.Namespace) -> int:
    from prefect_anyrunner.cli.show import show

    return show()


def _run(arguments: argparse.Namespace) -> int:
    spec = RunnerSpec.load(arguments.runner, place="--runner") if arguments.runner is not None else None
    flow = load_flow(arguments.flow)
    parameters = read_parameters(flow, arguments.param)
    chosen = spec or (flow.task_runner.resolve() if isinstance(flow.task_runner, AnyTaskRunner) else None)
    if chosen is not None:
        check_reachable(chosen)
    with without_second_traceback():
        end = run_flow(flow, parameters, spec)
    on = str(chosen) if chosen is not None else type(flow.task_runner).__name__
    if isinstance(end.error, EngineUnreachable):
        raise end.error
    if end.error is not None:
        print(f"anyrunner: flow {flow.name!r} failed on {on}: {end.failure()}", file=sys.stderr)
        return 1
    runs = sum(map(len, end.reports))
    print(f"flow {flow.name!r} completed on {on}: {runs} task run{'' if runs == 1 else 's'} waited for")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from prefect_anyrunner.cli.compare import compare

    specs = [text.strip() for group in arguments.on for text in group.split(",") if text.strip()]
    return compare(arguments.flow, arguments.param, specs, as_json=arguments.json)


def _conform(arguments: argparse.Namespace) -> int:
    from prefect_anyrunner.cli.conform import run

    def end(*_: object) -> NoReturn:
        raise SystemExit(143)  # as a shell tells of SIGTERM, but only once the engines and the server have been stopped

    signal.signal(signal.SIGTERM, end)
    return run(
        arguments.runners,
        rules=arguments.rule,
        seconds=arguments.seconds,
        json_file=arguments.json,
        markdown_file=arguments.markdown,
        compare_file=arguments.compare,
    )
