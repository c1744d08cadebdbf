"""The cases of the table; importing a file adds its cases to `CASES`."""
