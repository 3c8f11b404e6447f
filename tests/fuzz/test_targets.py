"""Every target for a short time, with fixed inputs. `make fuzz` runs them for longer."""

from tests.fuzz.child import table
from tests.fuzz.runner import Plan, fuzz

PLAN = Plan(seed=0, inputs=50, seconds=60.0)
WANTED = {
    *(
        "http-heads",
        "http-server",
        "console",
        "rps-requests",
        "rps-server",
        "ping-json",
        "ping-form",
        "queue-entries",
    ),
    *("resque-jobs", "change-events", "apns-keys", "apns-certificates", "fcm-accounts", "settings-file"),
    *(
        "settings-environment",
        "redis-addresses",
        "apns-answers",
        "fcm-answers",
        "token-answers",
        "retry-after",
    ),
    *("session-cookies", "receipts", "snapshots", "data-folder", "http2-answers", "http2-requests"),
    *("content-codings", "prefer", "forwarded-for"),
}


def test_no_target_fails() -> None:
    names = list(table(PLAN.table))
    assert set(names) >= WANTED
    outcomes = fuzz(names, PLAN)
    wrong = [
        (one.name, found.kind, found.about, found.data[:200]) for one in outcomes for found in one.failures
    ]
    assert wrong == []
    assert [one.name for one in outcomes] == names
    assert all(one.inputs == PLAN.inputs for one in outcomes)
