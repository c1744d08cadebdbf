"""The error for wrong input on the command line."""

from __future__ import annotations


class UsageError(Exception):
    """The command cannot begin. The text is the one sentence to print, and the exit code is 2."""
