"""What connects a worker with its supervisor while it runs."""

from typing import NamedTuple

from gateway.server.metrics_reporting import MetricsReporter
from gateway.server.settings_feed import SettingsFeed


class WorkerChannels(NamedTuple):
    """A worker's connections to its supervisor.

    Attributes:
        news: gives settings that were read anew.
        reporting: takes the worker's metrics, and gives those of the whole gateway.
    """

    settings_feed: SettingsFeed
    metrics_reporter: MetricsReporter
