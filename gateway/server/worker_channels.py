"""What connects a worker with its supervisor while it runs."""

from typing import NamedTuple

from gateway.compose.news import NewsFeed
from gateway.compose.reporting import Reporting


class Supervision(NamedTuple):
    """A worker's connections to its supervisor.

    Attributes:
        news: gives settings that were read anew.
        reporting: takes the worker's metrics, and gives those of the whole gateway.
    """

    news: NewsFeed
    reporting: Reporting
