"""Output of a run: a table on the terminal, JSON for programs, one page with plots."""
