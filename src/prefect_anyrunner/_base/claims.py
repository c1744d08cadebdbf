"""What the owner of a claim is called when it is no worker."""

REVOKED = "revoked"
"""The owner of a claim that no worker may have: the flow's process has decided that the body never starts."""
