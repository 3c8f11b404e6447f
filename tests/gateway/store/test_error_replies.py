"""The log of lasting refusals: each kind at most once a minute."""

from structlog.testing import capture_logs

from gateway.store.error_replies import ErrorReplyLog

DENIED = "NOPERM this user has no permissions to run the 'get' command"


def test_a_refusal_is_logged_once_a_minute_and_each_kind_for_itself() -> None:
    now = [0.0]
    log = ErrorReplyLog(lambda: now[0])
    with capture_logs() as said:
        for now[0] in (0.0, 59.9, 60.0, 60.1):
            log.log(DENIED, "requests")
        log.log("WRONGPASS invalid username-password pair or user is disabled.", "requests")
        log.log("OOM command not allowed when used memory > 'maxmemory'.", "requests")
    assert [line["error"].split()[0] for line in said] == ["NOPERM", "NOPERM", "WRONGPASS"]
