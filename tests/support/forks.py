"""Short runs of the command `rhopush`, each in a fork of one process that has imported its modules.

Most of the time of a run that ends at once is spent on imports. A fork ends as every process does: exit handlers run,
and an exception is printed.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.cli import main
from tests.support.gateway import ROOT

_MODULES: Final = ("bench", "check", "ping", "pings", "serve")


class Forks:
    """The process that forks.

    Args:
        folder: a folder for the output of the runs.
    """

    def __init__(self, folder: Path) -> None:
        self._out, self._err = folder / "out", folder / "err"
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forks"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, folder: Path, environ: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
        """Run `rhopush WORDS...` in a folder with this environment alone, PYTHONPATH included, and wait for its end."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        order = {
            "words": words,
            "folder": str(folder),
            "environ": dict(environ),
            "out": str(self._out),
            "err": str(self._err),
        }
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        status = int(self._parent.stdout.readline())
        return subprocess.CompletedProcess(words, status, self._out.read_text(), self._err.read_text())

    def close(self) -> None:
        """End the process."""
        self._parent.communicate()


def _child(order: Mapping[str, Any]) -> int:
    os.environ.clear()
    os.environ.update(order["environ"])
    os.chdir(order["folder"])
    sys.path[:0] = [path for path in order["environ"].get("PYTHONPATH", "").split(":") if path]
    for descriptor, path in ((1, order["out"]), (2, order["err"])):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    return main(order["words"])


def _serve() -> int:
    for name in _MODULES:
        importlib.import_module(f"gateway.cli.{name}")
    answers = os.dup(1)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            os.close(answers)
            return _child(json.loads(line))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(answers, b"%d\n" % status)
    return 0


if __name__ == "__main__":
    sys.exit(_serve())
