"""Check of the Redis commands that the settings require: at the start, and every 30 s from then on."""

from collections.abc import Mapping
from typing import Final

import structlog

from gateway.errors import BadSetting, StoreDown
from gateway.settings import Settings
from gateway.store.command_probe import RefusedCommands, by_address, refused_by, uses

_log = structlog.get_logger("store")

EVERY_S: Final = 30.0
"""Interval of the checks: an operator may change permissions, and a failover may lead to another server."""


class RedisPermissions:
    """The commands that Redis refused at the last check.

    Args:
        settings: the current settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: dict[str, RefusedCommands] = {}

    def apply_settings(self, settings: Settings) -> None:
        """Apply new settings."""
        self._settings = settings

    @property
    def problems(self) -> Mapping[str, str]:
        """Refusals that keep this gateway from working, by setting; empty: none."""
        return {one.setting: text for text, one in self._found.items() if one.fatal}

    async def require(self) -> None:
        """Run the first check.

        Raises:
            BadSetting: Redis refuses a command that every gateway needs.
        """
        await self.check()
        for setting, text in self.problems.items():
            raise BadSetting(f"{setting}: {text}", field=setting)

    async def check(self) -> None:
        """Check all commands, and log new refusals and refusals that ended.

        If Redis does not answer, the result of the last check stays.
        """
        found: dict[str, RefusedCommands] = {}
        for address, here in by_address(uses(self._settings)).items():
            try:
                found |= {str(one): one for one in await refused_by(address, here)}
            except StoreDown:
                found |= {text: one for text, one in self._found.items() if one.address == address}
        for text in found.keys() - self._found.keys():
            _log.warning("redis_commands_refused", text=text)
        for text in self._found.keys() - found.keys():
            _log.info("redis_commands_accepted", text=text)
        self._found = found
