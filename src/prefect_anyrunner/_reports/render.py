"""Outcomes and failures as text: pure functions whose text is bounded, even if a `__str__` raises."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeGuard

from prefect_anyrunner._base.safe_text import MAX_LINE, clipped, error_text, first_line, full_text, readable, with_type
from prefect_anyrunner._base.secrets import hide_in_prose
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.pages import task_run_pages

MAX_NAMED = 8
"""Number of runs, or ranges of runs, that one list in a message names before it counts the rest."""
MAX_NAMED_IN_MESSAGE = 4
"""The same number for the message of a failure, which has a text for each kind, too."""
MAX_MESSAGE = 600
"""Maximum number of characters for the kinds of failure in a message: chats and Prefect's pages cut longer ones."""
MAX_WHY = 80
"""Maximum number of characters of each error's text in such a message."""
MAX_KINDS = 8
"""Number of kinds of failure that a message names before it counts the rest."""
MAX_GROUPS = 10
"""Number of groups of alike failures that a text describes before it counts the rest."""
MAX_EXAMPLES = 3
"""Number of runs of each group that a text describes."""
MAX_READ = 10_000
"""Maximum number of characters of an error's text in which secrets are looked for."""
RECORDED_WHERE = "_anyrunner_where"
"""Attribute of an error that was read from the API: the line that raised it, as the log of the run says."""


def ranges(numbers: Iterable[int]) -> list[tuple[str, int]]:
    """Return texts that join neighbours among `numbers`, each with its size: `[("3", 1), ("7-9", 3), ("20", 1)]`."""
    spans: list[tuple[int, int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    return [(str(first) if first == last else f"{first}-{last}", last - first + 1) for first, last in spans]


def label(outcome: Outcome) -> str:
    """Return the short name of one run, `load[3]`: its task and its index in the map, else in the argument."""
    place = _place(outcome)
    return outcome.task_name if place == "" else f"{outcome.task_name}[{place}]"


def _place(outcome: Outcome) -> int | str:
    if outcome.map_index is not None:
        return outcome.map_index
    return outcome.path[-1] if outcome.path else ""


def own_name(outcome: Outcome) -> str:
    """Return the name of a run in Prefect, shortened; empty if the label says it already, as in `load[c7b]`."""
    name = outcome.task_run_name or ""
    return "" if name == f"{outcome.task_name}-{_place(outcome)}" else clipped(name, 80)


def address(outcome: Outcome, pages: str | None) -> str:
    """Return the address of the page of one run; empty if it has none. `pages`: what `task_run_pages` returns."""
    return f"{pages}{outcome.task_run_id}" if pages and outcome.task_run_id else ""


def text_without_secrets(error: BaseException | None) -> str:
    """Return the text of an error for files and pages, which others read; empty without an error."""
    return "" if error is None else first_line(hide_in_prose(readable(full_text(error)[:MAX_READ])), MAX_LINE)


def described_without_secrets(error: BaseException) -> str:
    """Return type and text of an error in one line, for files and pages."""
    return with_type(error, text_without_secrets(error))


def label_with_inputs(outcome: Outcome) -> str:
    """Return the short name of one run with its arguments, where they are known: `load[3] day='wed'`."""
    return f"{label(outcome)} {outcome.inputs}" if outcome.inputs else label(outcome)


def labels(outcomes: Sequence[Outcome], *, together: bool = False, at_most: int = MAX_NAMED) -> str:
    """Return the names of several runs: neighbours are joined, the first ones are named and the rest are counted.

    Example: `load[3], load[7-9], load[20], and 12 more`; with `together` each task has one bracket, `load[3, 7-9, 20]`.
    """
    by_task: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_task.setdefault(outcome.task_name, []).append(outcome)
    texts: list[str] = []
    covered = 0
    for task, runs in by_task.items():
        places = _places(runs)
        shown = places[: at_most - len(texts)]
        covered += sum(size for _, size in shown)
        if together and shown and shown[0][0]:
            texts.append(f"{task}[{', '.join(place for place, _ in shown)}]")
        else:
            texts += [f"{task}[{place}]" if place else task for place, _ in shown]
    rest = len(outcomes) - covered
    return ", ".join(texts) + (f", and {rest} more" if rest else "")


def _places(runs: Sequence[Outcome]) -> list[tuple[str, int]]:
    """Return the places of runs of one task, each with the number of runs that it covers."""
    last = [_place(run) for run in runs]
    if len(set(last)) < len(runs):  # as in {"a": [...], "b": [...]}, where only the whole path distinguishes runs
        return [(".".join(map(str, run.path)), 1) for run in runs]
    numbers = ranges(place for place in last if _is_index(place))
    return numbers + [(str(place), 1) for place in last if not _is_index(place)]


def _is_index(place: object) -> TypeGuard[int]:
    """Return whether `place` is an index; a key of a mapping may be -1 or True."""
    return type(place) is int and place >= 0


def kind_of(outcome: Outcome) -> str:
    """Return the kind of an outcome: the type of the error if the body raised, else the status."""
    if outcome.status is Status.FAILED and outcome.error is not None:
        return type(outcome.error).__name__
    return outcome.status.value


def headline(
    members: Sequence[Outcome], *, total: int, blocked: int = 0, withdrawn: int = 0, tolerated: int = 0
) -> str:
    """Return the message of a `TaskRunsFailed`, short enough for a flow run's state and for a chat.

    `3 of 9 task runs failed: 2 ValueError: no day 3 (load[3], load[7]), 1 crashed: its worker died (load[8]); 1 blocked
    by them`. The text is that of the first run of its kind.
    """
    text = f"{len(members)} of {total} task run{'' if total == 1 else 's'} failed: {_kinds(members)}"
    if tolerated:
        text += f"; {tolerated} would have been tolerated"
    if blocked:
        text += f"; {blocked} blocked by them"
    if withdrawn:
        text += f"; {withdrawn} cancelled because of them"
    return text


def part_headline(members: Sequence[Outcome], whole: int) -> str:
    """Return the message of a part of a `TaskRunsFailed` with `whole` members, as `except*` and `split` make it."""
    return f"{len(members)} of {whole} failed task run{'' if whole == 1 else 's'}: {_kinds(members)}"


def _kinds(members: Sequence[Outcome]) -> str:
    """Return the kinds of failures with their counts, a text and some runs, in about `MAX_MESSAGE` characters at most.

    Errors of bodies come before other ends; within each, the most frequent kind first, ties in submission order.
    """
    kinds: dict[str, list[Outcome]] = {}
    for member in members:
        kinds.setdefault(kind_of(member), []).append(member)
    order = sorted(kinds.items(), key=lambda kind: (kind[1][0].status is not Status.FAILED, -len(kind[1])))
    parts: list[str] = []
    for kind, runs in order[:MAX_KINDS]:
        why = _why(runs[0])
        names = clipped(labels(runs, at_most=MAX_NAMED_IN_MESSAGE), 120)
        part = f"{len(runs)} {clipped(kind, 60)}{f': {why}' if why else ''} ({names})"
        if parts and len(", ".join([*parts, part])) > MAX_MESSAGE:
            break
        parts.append(part)
    if rest := order[len(parts) :]:
        parts.append(f"{sum(len(runs) for _, runs in rest)} of {len(rest)} other kind{'' if len(rest) == 1 else 's'}")
    return ", ".join(parts)


_SUBJECT = re.compile(r"^Task run '[^']*' crashed: ")
_RANDOM = re.compile(r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|\w+://[^\s,;)]+")


def _why(outcome: Outcome) -> str:
    """Return why a run failed, for a message that must be the same in every flow run.

    So names of runs, ids and addresses are left out of texts that the runner wrote.
    """
    error = outcome.error
    if error is None or outcome.status in (Status.CANCELLED, Status.UNFINISHED):  # the status says it all
        return ""
    if outcome.status is Status.BLOCKED:  # the text names the upstream run
        return "" if error.__cause__ is None else clipped(described_without_secrets(error.__cause__), MAX_WHY)
    text = text_without_secrets(error)
    if outcome.status is Status.CRASHED:
        text = _RANDOM.sub("…", _SUBJECT.sub("", text))
    return clipped(text, MAX_WHY)


_VARYING = re.compile(
    r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|(['\"]).*?\1|(?:/[\w.+-]+){2,}|\d+(?:\.\d+)?"
)


def fingerprint(outcome: Outcome) -> tuple[object, ...]:
    """Return the facts that alike failures share: status, type, and the raising line.

    If no body raised, as in a crash, the text without its varying parts takes the place of the line.
    """
    error = outcome.error
    if error is None:
        return (outcome.status,)
    kind = type(error)
    where = raised_at(error) if outcome.status is Status.FAILED else ""
    return (outcome.status, kind.__module__, kind.__qualname__, where or _VARYING.sub("…", error_text(error)))


def where_raised(outcome: Outcome) -> str:
    """Return the line that raised the error of a failed run, `load.py:7 in load`; empty if it is not known."""
    if outcome.error is None or outcome.status is not Status.FAILED:
        return ""
    return raised_at(outcome.error) or recorded(outcome.error, RECORDED_WHERE)


def recorded(error: BaseException, name: str) -> str:
    """Return a text that we have put on an error, past the `__getattr__` of its class; empty if there is none."""
    text = object.__getattribute__(error, "__dict__").get(name)
    return text if isinstance(text, str) else ""


def raised_at(error: BaseException) -> str:
    """Return the line that raised `error`, `load.py:7 in load`; empty if the error has no traceback."""
    step = error.__traceback__
    if step is None:
        return ""
    while step.tb_next is not None:
        step = step.tb_next
    code = step.tb_frame.f_code
    return f"{code.co_filename.rsplit('/', 1)[-1]}:{step.tb_lineno} in {code.co_name}"


def distinct(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the first outcome of each run, without those of its later positions."""
    seen: set[object] = set()
    kept = []
    for outcome in outcomes:
        if outcome.task_run_id is None or outcome.task_run_id not in seen:
            seen.add(outcome.task_run_id)
            kept.append(outcome)
    return kept


def alike(outcomes: Iterable[Outcome]) -> list[tuple[Outcome, ...]]:
    """Return `outcomes` in groups with the same fingerprint, the largest group first, ties in submission order."""
    groups: dict[tuple[object, ...], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(fingerprint(outcome), []).append(outcome)
    return sorted((tuple(group) for group in groups.values()), key=lambda group: -len(group))


def differing_first(group: Sequence[Outcome], at_most: int) -> list[Outcome]:
    """Return some runs of a group: those whose texts differ come first, then the first ones."""
    by_text: dict[str, Outcome] = {}
    for outcome in group:
        by_text.setdefault(error_text(outcome.error) if outcome.error is not None else "", outcome)
    chosen = list(by_text.values())[:at_most]
    more = [outcome for outcome in group[:at_most] if not any(outcome is each for each in chosen)]
    return sorted(chosen + more[: at_most - len(chosen)], key=lambda outcome: outcome.index)


def run_line(outcome: Outcome, group: Sequence[Outcome], pages: str | None) -> str:
    """Return one line that identifies a run: `load[2] day='wed' (load-c7b): no such day  http://.../task-run/...`.

    The line holds the error's text if it is not that of the group's first run. `pages`: what `task_run_pages` returns.
    """
    text = label_with_inputs(outcome)
    if name := own_name(outcome):
        text += f" ({name})"
    error, first = outcome.error, group[0].error
    if error is not None and first is not None and error_text(error) != error_text(first):
        text += f": {text_without_secrets(error)}"
    page = address(outcome, pages)
    return f"{text}  {page}" if page else text


def group_line(group: Sequence[Outcome]) -> str:
    """Return one line for a group of alike failures, `40 x ValueError: bad day 3 (load.py:7 in load): load[3, 7-9]`."""
    first = group[0]
    what = first.status.value if first.error is None else described_without_secrets(first.error)
    if first.status is not Status.FAILED:
        what = f"{first.status.value}: {text_without_secrets(first.error)}".rstrip(": ")
    where = where_raised(first)
    return f"{len(group)} x {what}{f' ({where})' if where else ''}: {labels(group, together=True)}"


def group_lines(outcomes: Iterable[Outcome], limit: int = MAX_GROUPS) -> list[str]:
    """Return a line for each group of alike failures, with some of its runs on indented lines below it.

    Only the first `limit` groups have lines; one more line counts the rest.
    """
    groups = alike(outcomes)
    pages = task_run_pages() if groups else None
    lines = []
    for group in groups[:limit]:
        lines.append(group_line(group))
        for run in differing_first(group, MAX_EXAMPLES):
            if (line := run_line(run, group, pages)) != label(run):
                lines.append(f"    {line}")
    if len(groups) > limit:
        lines.append(f"… and {sum(map(len, groups[limit:]))} more in {len(groups) - limit} other groups")
    return lines


def counted(counts: Counter[Status]) -> str:
    """Return the counts that are not zero, in the order of `Status`, as in `990 completed, 10 failed`."""
    return ", ".join(f"{counts[status]} {status.value}" for status in Status if counts[status]) or "nothing to wait for"
