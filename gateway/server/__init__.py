"""Puts the parts together: the supervisor, its workers, and what each worker is made of."""
