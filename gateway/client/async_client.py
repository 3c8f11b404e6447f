"""HTTP requests of the client for asyncio programs. The module is imported at the first `aperform`, so that other
programs do not need aiohttp."""

import asyncio
from typing import Any

import aiohttp

from gateway.client.messages import (
    RETRY_PAUSE_S,
    ClientRequest,
    ClientResponse,
    Parameters,
    cancel_request,
    cancelled_of,
    ping_request,
    polled_report_of,
    report_of,
    report_request,
    server_url,
    unfinished,
    unreachable,
)


async def deliver(server: str, token: str, timeout_s: float, parameters: Parameters) -> dict[str, Any]:
    """Send a ping, wait until every device has a verdict, and return the receipt.

    Raises:
        PingError: the ping was not accepted, or not finished in time.
    """
    ping_id: str | None = None
    url = server_url(server)
    request = ping_request(parameters, token, timeout_s=timeout_s)
    try:
        async with asyncio.timeout(timeout_s), aiohttp.ClientSession(server.rstrip("/") + "/") as session:
            answer = await _ask(session, request)
            ping_id = answer.ping_id
            report = report_of(answer)
            while report is None:
                await asyncio.sleep(RETRY_PAUSE_S)
                answer = await _ask(session, report_request(ping_id or "", token))
                report = polled_report_of(answer, ping_id or "")
            return report
    except TimeoutError as error:
        if ping_id is None:
            raise unreachable(url, error) from error
        raise unfinished(timeout_s, ping_id) from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise unreachable(url, error, ping_id) from error


async def cancel(server: str, token: str, timeout_s: float, ping_id: str) -> dict[str, Any]:
    """Cancel a ping, as `SyncClient.cancel` does.

    Raises:
        PingError: the ping is unknown or finished, or the gateway refuses or cannot be reached.
    """
    url = server_url(server)
    request = cancel_request(ping_id, token)
    try:
        async with asyncio.timeout(timeout_s), aiohttp.ClientSession(server.rstrip("/") + "/") as session:
            return cancelled_of(await _ask(session, request))
    except (aiohttp.ClientError, OSError, ValueError) as error:  # includes TimeoutError
        raise unreachable(url, error, ping_id) from error


async def _ask(session: aiohttp.ClientSession, request: ClientRequest) -> ClientResponse:
    async with session.request(
        request.method,
        request.path.removeprefix("/"),
        headers=request.headers,
        data=request.body,
        allow_redirects=False,  # another server must not receive the token
    ) as answer:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return ClientResponse(answer.status, headers, await answer.read())
