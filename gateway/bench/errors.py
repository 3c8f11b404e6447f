"""Reasons for which a measurement has no result."""

from gateway.errors import RhoPushError


class CannotMeasure(RhoPushError):
    """A part is missing, ended early, or did something else than it was told. No figure is given then."""

    code = "cannot_measure"
    label = "cannot_measure"
