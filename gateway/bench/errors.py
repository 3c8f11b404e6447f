"""Errors that make a measurement impossible."""

from gateway.errors import RhoPushError


class CannotMeasure(RhoPushError):
    """A required part is missing, ended early, or did not do as ordered. No figure is reported then."""

    code = "cannot_measure"
    label = "cannot_measure"
