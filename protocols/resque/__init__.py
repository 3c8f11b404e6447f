"""Resque, as far as a worker of RhoConnect's queue needs it: jobs (`job`) and what it writes of itself
(`records`)."""

from protocols.resque.job import CLASSES, Job, parse

__all__ = ["CLASSES", "Job", "parse"]
