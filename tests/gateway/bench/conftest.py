"""One running stand for the scenarios of a file: to start a gateway and its surroundings takes seconds."""

import io
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Final

import pytest

from gateway.bench.bench import Bench, Options
from gateway.bench.testbed import BenchEnvironment
from gateway.system.progress import Progress
from tests.support.prepared import bench_forked

USERS: Final = 1_000
CONNECTIONS: Final = 4


@pytest.fixture(scope="module")
def forked() -> Iterator[None]:
    """Gateways and roles as forks, for tests that do not examine their start."""
    with bench_forked():
        yield


@pytest.fixture(scope="module")
def running_stand(forked: None) -> Iterator[BenchEnvironment]:
    """A stand with `USERS` users, the settings that a scenario has by default, and one worker."""
    bench = Bench(Options(users=USERS, connections=CONNECTIONS, peers=False), Progress(io.StringIO()))
    with bench.stand(USERS) as stand:
        yield stand


@pytest.fixture
def shared_stand(running_stand: BenchEnvironment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the running stand to a scenario that asks for one of this size without further variables; a second one at
    the same time is its own."""
    own = Bench.stand
    lent: list[BenchEnvironment] = []

    @contextmanager
    def lend() -> Iterator[BenchEnvironment]:
        lent.append(running_stand)
        try:
            yield running_stand
        finally:
            lent.clear()

    def stand(
        bench: Bench,
        users: int,
        *,
        workers: int | None = None,
        exact: bool = False,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> AbstractContextManager[BenchEnvironment]:
        registered = users if exact else bench.options.users or users
        asked = registered, bench.options.connections, workers or 1, {**environ}
        if asked == (USERS, CONNECTIONS, 1, {}) and not lent:
            return lend()
        return own(bench, users, workers=workers, exact=exact, environ=environ)

    monkeypatch.setattr(Bench, "stand", stand)
