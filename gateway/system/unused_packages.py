"""Imports of libraries without their optional packages that the gateway does not use.

A library may import another package whenever that is installed. structlog imports rich, which imports Pygments, for
tracebacks on a terminal; redis-py imports OpenTelemetry's SDK for its own metrics. The gateway uses neither function,
and both packages together would take an eighth of the CPU with which the modules of a worker are imported.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final, cast

UNUSED: Final = ("opentelemetry", "rich")
"""The packages. `gateway.tracing` and the progress bar of `rhopush bench` import them later, when they use them."""


@contextmanager
def unused_packages_hidden() -> Iterator[None]:
    """Let libraries be imported as if these packages were not installed, unless they are imported already.

    An entry of None in `sys.modules` makes an import fail with ModuleNotFoundError (Python Language Reference, "The
    import system", section "The module cache"). The entries are removed afterwards, so that later imports find the
    packages.
    """
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    hidden = [name for name in UNUSED if name not in modules]
    modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]
