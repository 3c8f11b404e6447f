"""The process model: the supervisor, its workers, and the assembly of a worker's components."""
