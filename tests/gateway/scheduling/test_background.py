"""Work that no caller awaits continues after an error."""

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.errors import StoreDown
from gateway.scheduling import background
from gateway.scheduling.background import keep_running

GATEWAY = Path(background.__file__).parent.parent
CREATORS = {"create_task", "ensure_future"}
TOOLS = ("bench/", "cli/", "simulators/")
"""Packages whose programs run in front of a person or a test."""


class Work:
    """Fails with each of these errors in turn, then returns 7."""

    def __init__(self, *errors: BaseException) -> None:
        self._errors = list(errors)

    async def run(self) -> int:
        if self._errors:
            raise self._errors.pop(0)
        return 7


async def test_work_without_an_error_runs_once_and_returns_its_result() -> None:
    with capture_logs() as logs:
        assert await keep_running(Work().run, "work") == 7
    assert logs == []


@pytest.mark.parametrize(
    ("error", "event", "level"),
    [
        (StoreDown("no answer"), "redis_unavailable", "debug"),
        (RuntimeError("a defect"), "background_task_failed", "error"),
        (OSError("a defect"), "background_task_failed", "error"),
        (asyncio.CancelledError(), "background_task_failed", "error"),  # of a future that the work awaited
    ],
    ids=repr,
)
async def test_work_is_started_again_after_an_error_which_is_logged(
    error: BaseException, event: str, level: str
) -> None:
    errors: list[BaseException] = []
    with capture_logs() as logs:
        result = await keep_running(Work(error, error).run, "work", restart_s=0, on_error=errors.append)
    assert result == 7
    assert [(line["event"], line["log_level"], line["task"]) for line in logs] == [(event, level, "work")] * 2
    assert [type(one) for one in errors] == [type(error)] * 2


async def test_a_cancellation_ends_the_work() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(keep_running(work, "work"))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


# -- all tasks of the gateway --------------------------------------------------------------------------------

SELF = str(Path(background.__file__).relative_to(GATEWAY))


def modules() -> dict[str, ast.Module]:
    """The modules of the service, by path."""
    found = {str(path.relative_to(GATEWAY)): path for path in GATEWAY.rglob("*.py")}
    return {name: ast.parse(path.read_text()) for name, path in found.items() if not name.startswith(TOOLS)}


def parts(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below a node, without those of functions defined there."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from parts(child)


def is_endless(function: ast.AsyncFunctionDef) -> bool:
    """Whether a function has a loop that only an exception ends."""
    return any(
        isinstance(loop, ast.While)
        and isinstance(loop.test, ast.Constant)
        and not any(isinstance(node, ast.Return | ast.Break) for node in parts(loop))
        for loop in parts(function)
    )


def endless_functions(module: ast.Module) -> dict[str, bool]:
    """The async functions of a module, and whether they have a loop without end."""
    functions = [node for node in ast.walk(module) if isinstance(node, ast.AsyncFunctionDef)]
    return {function.name: is_endless(function) for function in functions}


def last_part(name: ast.expr) -> str:
    """The last part of a dotted name."""
    return name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", "")


def task_functions(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and function of every task that a module creates."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and last_part(node.func) in CREATORS:
            work = node.args[0]
            yield node.lineno, last_part(work.func) if isinstance(work, ast.Call) else ""


def unprotected(all_modules: dict[str, ast.Module]) -> list[str]:
    """The tasks whose loop without end ends with the first error: FILE:LINE FUNCTION."""
    endless = {name: endless_functions(module) for name, module in all_modules.items()}
    anywhere = {function for found in endless.values() for function, yes in found.items() if yes}
    return [
        f"{name}:{line} {function}"
        for name, module in all_modules.items()
        for line, function in task_functions(module)
        if name != SELF and endless[name].get(function, function in anywhere)
    ]


def test_every_task_with_a_loop_without_end_is_started_again_after_an_error() -> None:
    assert unprotected(modules()) == []


def test_the_check_finds_a_loop_of_the_same_module_and_of_another_one() -> None:
    loop = "async def run():\n  while True:\n    await step()\n"
    found = {
        "one.py": ast.parse(loop + "asyncio.create_task(self.run(), name='one')"),
        "two.py": ast.parse("asyncio.ensure_future(one.run())"),
        "three.py": ast.parse("async def run():\n  while True:\n    return\nasyncio.create_task(run())"),
        "four.py": ast.parse("asyncio.create_task(keep_running(one.run, 'four'))"),
    }
    assert unprotected(found) == ["one.py:4 run", "two.py:1 run"]
