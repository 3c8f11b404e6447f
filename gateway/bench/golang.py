"""Peers written in Go: built from the sources beside the benchmarks' reports, stored in the user's cache."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import gateway
from gateway.bench.errors import CannotMeasure

_SOURCES: Final = Path(gateway.__file__).parents[1] / "benchmarks" / "peers"
_DIGEST: Final = 12


def build(name: str) -> Path:
    """The program of a peer; built, with the versions that its go.mod and go.sum pin, if it is missing.

    Raises:
        CannotMeasure: Go or the sources are missing (an installed package has none), or the build fails.
    """
    sources = _SOURCES / name
    go = shutil.which("go")
    if go is None or not sources.is_dir():
        raise CannotMeasure(f"{name} needs Go and a checkout with benchmarks/peers")
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(sources.iterdir())))
    program = _cache() / f"{name}-{digest.hexdigest()[:_DIGEST]}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        made = program.with_suffix(f".{os.getpid()}")
        command = [go, "build", "-mod=readonly", "-trimpath", "-o", str(made), "."]
        done = subprocess.run(command, cwd=sources, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotMeasure(f"{name} does not build: {done.stderr.strip()[-300:]}")
        made.rename(program)
    return program


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rhopush-bench"
