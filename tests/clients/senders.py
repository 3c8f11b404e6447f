"""Builds the example senders of RhoConnect's documentation and defines how to run them."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.support.requirements import need_file, need_program

HERE = Path(__file__).parent
_JARS = {
    "spring3-web.jar": "libspring-web-java",
    "spring3-core.jar": "libspring-core-java",
    "spring3-beans.jar": "libspring-beans-java",
    "jackson-databind.jar": "libjackson2-databind-java",
    "jackson-core.jar": "libjackson2-core-java",
    "jackson-annotations.jar": "libjackson2-annotations-java",
    "commons-logging.jar": "libcommons-logging-java",
}


class Sender(NamedTuple):
    """One example, and the characteristics of its requests.

    Attributes:
        build: compiles it into a folder; returns the command, to be completed by SERVER TOKEN SOURCE BADGE USER...
        path: the path that it requests.
        headers: headers that its request must have, so that the test covers the intended case.
        token_in_header: whether the API token is there, or in the body alone.
        many: whether it can name several users.
    """

    build: Callable[[Path], list[str]]
    path: str
    headers: dict[str, str]
    token_in_header: bool
    many: bool


def _compile(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _ruby(_: Path) -> list[str]:
    ruby = need_program("ruby", "ruby")
    need_file(
        "/usr/share/rubygems-integration/all/specifications/rest-client-2.1.0.gemspec", "ruby-rest-client"
    )
    return [ruby, str(HERE / "ruby" / "ping.rb")]


def _dotnet(folder: Path) -> list[str]:
    compiler, runtime = need_program("mcs", "mono-mcs"), need_program("mono", "mono-runtime")
    need_file("/usr/lib/mono/4.5/System.Web.Extensions.dll", "libmono-system-web-extensions4.0-cil")
    program = folder / "Ping.exe"
    source = HERE / "dotnet" / "Ping.cs"
    _compile(compiler, "-r:System.Web.Extensions.dll", f"-out:{program}", str(source))
    return [runtime, str(program)]


def _java(folder: Path) -> list[str]:
    compiler, runtime = (need_program(name, "openjdk-17-jdk-headless") for name in ("javac", "java"))
    jars = [str(need_file(f"/usr/share/java/{jar}", package)) for jar, package in _JARS.items()]
    path = ":".join([*jars, str(folder)])
    _compile(compiler, "-nowarn", "-cp", path, "-d", str(folder), str(HERE / "java" / "Ping.java"))
    return [runtime, "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", path, "Ping"]


_SPRING_TAKES = "text/plain, application/json, application/*+json, */*"

SENDERS = {
    "ruby": Sender(_ruby, "/rc/v1/users/ping", {}, token_in_header=True, many=True),
    "dotnet": Sender(
        _dotnet, "/rc/v1/users%20/ping", {"expect": "100-continue"}, token_in_header=True, many=True
    ),
    "java": Sender(_java, "/rc/v1/users/ping", {"accept": _SPRING_TAKES}, token_in_header=False, many=False),
}
