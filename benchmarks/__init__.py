"""What a task costs: `python -m benchmarks`, against the stock runners and the bare engines."""
