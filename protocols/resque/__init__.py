"""Resque's formats, as far as a worker of RhoConnect's queue needs them: jobs (`job`) and its own records
(`records`)."""

from protocols.resque.job import CLASSES, Job, parse

__all__ = ["CLASSES", "Job", "parse"]
