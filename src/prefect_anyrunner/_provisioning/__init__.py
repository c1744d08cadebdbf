"""What commands and tests start for themselves: a Prefect server, an engine, a child process."""
