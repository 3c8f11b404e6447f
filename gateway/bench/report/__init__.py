"""What a run gives to a reader: a table on the terminal, JSON for programs, one page with plots."""
