"""A module beside the flow that a task imports only when it runs."""

WORD = "seen"
