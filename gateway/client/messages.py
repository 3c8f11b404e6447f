"""Requests to a gateway and the parsing of its responses, without I/O, for both HTTP implementations."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from gateway.client.errors import PingError
from gateway.system.network_errors import describe

PING_PATH: Final = "/rc/v1/users/ping"
RETRY_PAUSE_S: Final = 1.0
"""Interval between reads of the receipt of a ping that outlasts the gateway's own wait."""

PAGE_MAX: Final = 500
"""Most pings of one page of a list."""

_ANSWER_S: Final = 1.0
"""Time by which the gateway's own wait ends before that of the client."""
_WAIT_MAX_S: Final = 86_400.0
"""Longest wait that a request asks for: the gateway ignores a number of more than six digits."""
_REFUSED_AT_LOGIN: Final = "No API token provided"
"""RhoConnect's words for a missing token and for a wrong one, which the gateway repeats."""
_SHOWN_BYTES: Final = 1_000
"""Most bytes of a response without JSON that an error shows."""
TEMPORARY: Final = frozenset({408, 429, 502, 503, 504})
"""Statuses after which the same request is sent again."""
_FINISHED: Final = ("done", "cancelled")
"""States of a ping that has all of its verdicts."""
_FINAL: Final = ("accepted", "cancelled")
"""Verdicts that do not count as the failure of a device."""

Parameters = Mapping[str, Any]


class ClientRequest(NamedTuple):
    """One HTTP request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None = None


class ClientResponse(NamedTuple):
    """One HTTP response. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ping_id(self) -> str | None:
        """The id that the gateway assigned to the ping."""
        return self.headers.get("x-ping-id")


def server_url(server: str) -> SplitResult:
    """Return the parts of a gateway's URL.

    Raises:
        PingError: it is not an http or https URL with a valid port, or it has a query or a fragment, which the paths
            of the requests cannot follow.
    """
    try:
        url = urlsplit(server)
        valid = (
            url.scheme in ("http", "https")
            and bool(url.hostname)
            and url.path.isascii()
            and " " not in url.path
            and url.port != 0
        )
    except ValueError:  # a port out of range, or an invalid IPv6 address
        valid = False
    if not valid:
        without_password = server.rpartition("@")[2]
        raise PingError([f"the server must be an http or https URL, not {without_password!r}"])
    if url.query or url.fragment:
        raise PingError(["the server must be an http or https URL without a query and a fragment"])
    return url


def unreachable(url: SplitResult, error: Exception, ping_id: str | None = None) -> PingError:
    """Return the error of a gateway that cannot be reached; its text does not contain a password in the URL."""
    where = f"{url.scheme}://{url.netloc.rpartition('@')[2]}"
    return PingError([f"{where} cannot be reached: {failure(error)}"], ping_id)


def unfinished(timeout_s: float, ping_id: str | None) -> PingError:
    """Return the error of a ping whose devices do not all have a verdict in time."""
    return PingError([f"not every device has a verdict after {timeout_s:g} s"], ping_id)


def ping_request(parameters: Parameters, token: str, *, timeout_s: float | None = None) -> ClientRequest:
    """Return the request that sends a ping.

    Args:
        parameters: those of the ping; None: not set.
        token: the API token.
        timeout_s: seconds for which the caller waits for the verdicts, which the response then contains. The gateway is
            asked to answer a second earlier, so that the caller gets the id of a ping that is not finished by then; a
            time of less than two seconds leaves no whole second for that. None: the response does not wait.

    Raises:
        PingError: the token cannot be sent, or JSON has no form for a value.
        TypeError: JSON has no form for the type of a value.
    """
    body = _given(parameters)
    headers = {"Content-Type": "application/json", **token_header(token)}
    if timeout_s is not None:
        body["wait"] = True
        headers["Prefer"] = "return=representation"
        wait_s = int(min(timeout_s, _WAIT_MAX_S) - _ANSWER_S)
        if wait_s > 0:
            headers["Prefer"] += f", wait={wait_s}"
    return ClientRequest("POST", PING_PATH, headers, json_text(body).encode())


def json_text(value: object) -> str:
    """Return the JSON text of a value, in its shortest form.

    Raises:
        PingError: the value has a number that is not finite or has too many digits, contains itself, or is nested too
            deeply.
        TypeError: JSON has no form for the type of a value.
    """
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise PingError([f"the parameters are no JSON: {error}"]) from error


def segment(text: str) -> str:
    """Return a text as one segment of a path. An unpaired surrogate, which no stored name contains, is sent in the
    bytes of its code point: the gateway then does not find the name."""
    return quote(text, safe="", errors="surrogatepass")


def explain_request(parameters: Parameters, token: str) -> ClientRequest:
    """Return the request that explains a ping without sending it.

    Raises:
        PingError: the token cannot be sent.
    """
    return ping_request({**parameters, "explain": True}, token)


def explanation_of(answer: ClientResponse) -> dict[str, Any]:
    """Return the explanation of a ping.

    Raises:
        PingError: the gateway refused the request, its version does not explain pings, or another server than a
            gateway answered.
    """
    found = _json(answer)
    if answer.status != 200:
        raise refusal(answer)
    if "totals" not in found and not answer.ping_id:
        raise refusal(answer)
    if "totals" not in found:
        raise PingError(
            ["this gateway does not explain pings: it has sent the ping"], answer.ping_id, answer.status
        )
    return found


def report_request(ping_id: str, token: str) -> ClientRequest:
    """Return the request for the delivery report of a ping."""
    return ClientRequest("GET", f"/rc/v1/pings/{segment(ping_id)}", token_header(token))


def cancel_request(ping_id: str, token: str) -> ClientRequest:
    """Return the request that cancels a ping."""
    return ClientRequest("DELETE", f"/rc/v1/pings/{segment(ping_id)}", token_header(token))


def cancelled_of(answer: ClientResponse) -> dict[str, Any]:
    """Return the answer to a cancellation: `ping_id` and `state`.

    Raises:
        PingError: the gateway refused the cancellation: the ping is unknown or finished.
    """
    found = _json(answer)
    if answer.status != 202 or "state" not in found:
        raise refusal(answer)
    return found


def list_request(parameters: Parameters, token: str) -> ClientRequest:
    """Return the request for one page of the list of pings; parameters that are None are omitted."""
    return ClientRequest("GET", _with_query("/rc/v1/pings", parameters), token_header(token))


def admin_request(method: str, path: str, parameters: Parameters, token: str) -> ClientRequest:
    """Return the request for a route of operators.

    Args:
        method: the HTTP method. The parameters of a GET are in the query, those of others in a JSON body.
        path: path of the route, with its segments quoted.
        parameters: parameters by name; those that are None are omitted.
        token: the API token.
    """
    headers = token_header(token)
    if method == "GET":
        return ClientRequest(method, _with_query(path, parameters), headers)
    body = json_text(_given(parameters)).encode()
    return ClientRequest(method, path, {"Content-Type": "application/json", **headers}, body)


def _with_query(path: str, parameters: Parameters) -> str:
    query = urlencode(_given(parameters), doseq=True, errors="surrogatepass")
    return f"{path}?{query}" if query else path


def _given(parameters: Parameters) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if value is not None}


def json_of(answer: ClientResponse) -> dict[str, Any]:
    """Return the JSON object of a response with status 200.

    Raises:
        PingError: the gateway refused the request, or the response is not a JSON object.
    """
    found = _json(answer)
    if answer.status != 200 or not found:
        raise refusal(answer)
    return found


def accepted(answer: ClientResponse) -> str:
    """Return the id of a durable ping.

    Raises:
        PingError: the ping was not accepted, or another server than a gateway answered.
    """
    if answer.status != 200 or not answer.ping_id:
        raise refusal(answer)
    return answer.ping_id


def report_of(answer: ClientResponse) -> dict[str, Any] | None:
    """Return the receipt of a ping sent with `wait`; None: the gateway's own wait ended before the last verdict.

    Raises:
        PingError: the ping was not accepted.
    """
    if answer.status == 504 and answer.ping_id:
        return None
    report = _json(answer)
    if "devices" in report:
        return report if report.get("state", "done") in _FINISHED else None
    raise refusal(answer)


def polled_report_of(answer: ClientResponse, ping_id: str) -> dict[str, Any] | None:
    """Return the receipt of an accepted ping; None: it must be requested again, since devices have no verdict yet or
    the gateway cannot answer for the moment.

    Raises:
        PingError: the gateway refuses the receipt. The error has the ping's id and no `refused_with`: the ping was
            accepted.
    """
    if answer.status in TEMPORARY:
        return None
    try:
        return report_of(answer)
    except PingError as error:
        raise PingError(error.errors, ping_id) from error


def failures(report: Mapping[str, Any]) -> list[str]:
    """Return one text for each device that the ping did not reach, and one for all devices that a cancelled ping left
    out."""
    texts = [
        f"{device.get('client_id', '?')}: {device.get('reason') or device['verdict']}"
        for device in report.get("devices", ())
        if device["verdict"] not in _FINAL
    ]
    left_out = report.get("skipped", {}).get("cancelled")
    return [*texts, f"cancelled: {left_out} not sent"] if left_out else texts


def failure(error: Exception) -> str:
    """Return the reason for a missing response, in the client's own wording."""
    words = describe(error)
    return "the connection was closed before the response" if words == type(error).__name__ else words


def refusal(answer: ClientResponse) -> PingError:
    """Return the error of a response that refuses the request, or that no gateway sends."""
    error = _json(answer).get("error")
    words = error.get("message") if isinstance(error, dict) else None
    text = str(words) if words else _unexpected(answer) or _first_line(answer.body) or _status(answer)
    if text == _REFUSED_AT_LOGIN:
        text = f"the gateway does not accept the API token: {text}"
    return PingError([text], answer.ping_id, answer.status)


def _unexpected(answer: ClientResponse) -> str:
    """Return the description of a response that comes from another server than a gateway; "": it may be one."""
    if 300 <= answer.status < 400:
        target = answer.headers.get("location", "")
        where = f" to {target.partition('?')[0].rpartition('@')[2]}" if target else ""
        return f"{_status(answer)}: the server redirects{where}, and redirects are not followed"
    if answer.status < 300:
        return f"{_status(answer)}: the response is none that a gateway sends; is the URL that of a gateway?"
    page = answer.body[:_SHOWN_BYTES].lstrip()[:1] == b"<"  # HTML, of a proxy or another server
    return _status(answer) if page else ""


def _status(answer: ClientResponse) -> str:
    try:
        return f"HTTP status {answer.status} ({HTTPStatus(answer.status).phrase})"
    except ValueError:
        return f"HTTP status {answer.status}"


def _first_line(body: bytes) -> str:
    """Return the beginning of a text, which is a whole page if another server answered."""
    lines = body[:_SHOWN_BYTES].decode(errors="replace").split("\n")
    return next((line.strip() for line in lines if line.strip()), "")


def _json(answer: ClientResponse) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def token_header(token: str) -> dict[str, str]:
    """Return the header with the token.

    Raises:
        PingError: a header cannot contain the token.
    """
    text = token.strip()
    if not text.isascii() or not text.isprintable():
        raise PingError(["the token contains a character that is not allowed in an HTTP header"])
    return {"X-RhoConnect-API-TOKEN": text} if text else {}
