"""The name of a claim's owner when no worker may own the claim."""

REVOKED = "revoked"
"""Owner of a claim that no worker may take, because the flow's process has decided that the body never starts."""
