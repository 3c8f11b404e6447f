"""Whether Redis takes every command that these settings need: tried at the start, and every 30 s from then on."""

from collections.abc import Mapping
from typing import Final

import structlog

from gateway.errors import BadSetting, StoreDown
from gateway.settings import Settings
from gateway.store.command_probe import RefusedCommands, by_address, refused_by, uses

_log = structlog.get_logger("store")

EVERY_S: Final = 30.0
"""An operator may change permissions, and a failover may lead to another server: seen within this time."""


class RedisPermissions:
    """What Redis refused when it was last tried.

    Args:
        settings: those in force.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: dict[str, RefusedCommands] = {}

    def apply_settings(self, settings: Settings) -> None:
        """Take over new settings."""
        self._settings = settings

    @property
    def problems(self) -> Mapping[str, str]:
        """By setting, what keeps this gateway from working; empty: nothing."""
        return {one.setting: text for text, one in self._found.items() if one.fatal}

    async def require(self) -> None:
        """Try all commands for the first time.

        Raises:
            BadSetting: Redis refuses what no gateway can do without.
        """
        await self.check()
        for setting, text in self.problems.items():
            raise BadSetting(f"{setting}: {text}", field=setting)

    async def check(self) -> None:
        """Try all commands, and log the refusals that are new and those that ended.

        A Redis that does not answer keeps what was last found of it.
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
