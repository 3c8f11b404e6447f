"""This version finishes the work that an earlier version left in Redis."""
