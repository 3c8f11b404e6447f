"""The event loop of the tests."""

import asyncio
from typing import Final

_PATIENCE_S: Final = 5.0


class PatientLoop(asyncio.SelectorEventLoop):
    """An event loop that is closed after its connections.

    The end of a server closes the connections that it has accepted. It neither waits for them nor knows those whose TLS
    handshake is under way: each is closed when the loop reads the end of its client. asyncio would report those that
    are still open as errors of the test. Connections that nothing closes are left, and reported, after some seconds.
    """

    def close(self) -> None:
        """Close the loop once its connections are closed."""
        if not self.is_closed() and not self.is_running() and self._connections():
            self.run_until_complete(self._all_closed())
        super().close()

    async def _all_closed(self) -> None:
        last_s = self.time() + _PATIENCE_S
        while self._connections() and self.time() < last_s:
            await asyncio.sleep(0.001)

    def _connections(self) -> list[asyncio.BaseTransport]:
        """The open ones: a transport closes its socket after the call of `connection_lost`."""
        transports = list(vars(self)["_transports"].values())
        return [one for one in transports if one.get_extra_info("socket").fileno() >= 0]
