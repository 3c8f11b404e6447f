"""What connects a worker with its supervisor while it runs."""

from typing import NamedTuple

from gateway.server.metrics_reporting import MetricsReporter
from gateway.server.settings_feed import SettingsFeed


class WorkerChannels(NamedTuple):
    """A worker's connections to its supervisor.

    Attributes:
        settings_feed: gives settings that were read anew.
        metrics_reporter: takes the worker's metrics, and gives those of the whole gateway.
    """

    settings_feed: SettingsFeed
    metrics_reporter: MetricsReporter
