"""Answers to a worker that asks for a claim, beside the name of the worker that owns it."""

GRANTED = "granted"
"""The claim is now the worker's own. A worker starts a body on no other answer."""
REVOKED = "revoked"
"""Owner of a claim that no worker may take, because the flow's process has decided that the body never starts."""
