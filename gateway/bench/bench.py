"""One run of the load tool: its options, the peers measured so far, and the scenarios one by one."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import NamedTuple

from gateway.bench.peers import Peers
from gateway.bench.testbed import BenchEnvironment, EnvironmentOptions
from gateway.system.progress import Progress


class Options(NamedTuple):
    """The options of the command line, for all scenarios.

    Attributes:
        pings: pings of a scenario; None: its own number.
        users: registered users; None: the scenario's own number.
        workers: number of gateway processes.
        connections: connections of the load generator.
        redis: address of a Redis that may be emptied; None: the embedded store.
        full: whether to run the long form of scenarios that have one (a million users, a million pings).
        peers: whether peers are measured beside the gateway.
    """

    pings: int | None = None
    users: int | None = None
    workers: int = 1
    connections: int = 64
    redis: str | None = None
    full: bool = False
    peers: bool = True


class Bench:
    """The context of every scenario.

    Args:
        options: options of this run.
        progress: the line on the terminal.

    Attributes:
        peers: the peers of this run; None if the run measures the gateway alone.
    """

    def __init__(self, options: Options, progress: Progress) -> None:
        self.options = options
        self.progress = progress
        self.peers = Peers(progress, options.connections) if options.peers else None

    @contextmanager
    def stand(
        self,
        users: int,
        *,
        workers: int | None = None,
        exact: bool = False,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> Iterator[BenchEnvironment]:
        """A gateway with registered users; the options override the numbers.

        Args:
            users: number of users.
            workers: gateway processes; None: as in the options.
            exact: whether to ignore the options.
            environ: further environment variables of the gateway.
        """
        options = self.options
        registered = users if exact else options.users or users
        plan = EnvironmentOptions(
            registered, workers or options.workers, options.redis, options.connections, environ
        )
        self.progress.begin(f"{plan.users:,} users registered")
        with BenchEnvironment(plan, self.progress.on_progress) as stand:
            yield stand

    def pings(self, default: int) -> int:
        """Number of pings to send."""
        return self.options.pings or default


def proves(docstring: str | None) -> str:
    """The description of a scenario, in one line."""
    return " ".join((docstring or "").split())


def names(known: Sequence[str], asked: Sequence[str]) -> list[str]:
    """The scenarios to run, in the order of the table, each once; "all" is all of them."""
    return [name for name in known if name in asked or "all" in asked]
