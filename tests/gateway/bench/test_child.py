import os
import signal
from pathlib import Path

import pytest

from gateway.bench.child import Child
from gateway.bench.errors import CannotMeasure
from gateway.bench.roles.load import LoadOrder, LoadResult


def test_an_order_to_a_killed_role_is_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(CannotMeasure, match="load process ended with -9"), Child("load", tmp_path) as role:
        os.kill(role.pid, signal.SIGKILL)
        os.waitid(os.P_PID, role.pid, os.WEXITED | os.WNOWAIT)
        role.request(LoadOrder(1, "", 1, 1), LoadResult)
