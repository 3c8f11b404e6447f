"""The check of a ping's `to` against the settings and the installed providers, shared by the ingresses."""

from gateway.delivery.provider_registry import installed
from gateway.store import keys
from protocols.errors import BodyTooLarge, InvalidField
from protocols.ping.addressees import Addressees


def check_addressees(to: Addressees, users: int, users_max: int) -> None:
    """Check a ping with `to`.

    Args:
        to: of the ping.
        users: number of users of `user_id`.
        users_max: `limits.users_per_ping`; users, devices and tokens count together.

    Raises:
        BodyTooLarge: too many, or lists beside the users of a broadcast.
        InvalidField: a provider is not installed.
    """
    if users + to.listed > users_max:
        raise BodyTooLarge(f"a ping may name at most {users_max} users, devices and tokens", field="to")
    if to.listed and users > keys.BROADCAST_USERS:
        raise BodyTooLarge(
            f"with to.devices or to.tokens, a ping may name at most {keys.BROADCAST_USERS} users",
            field="user_id",
        )
    known = installed().entries
    named = [(f"to.providers[{index}]", name) for index, name in enumerate(to.providers)]
    named += [(f"to.tokens[{index}].provider", token.provider) for index, token in enumerate(to.tokens)]
    for field, name in named:
        if name not in known:
            raise InvalidField(f"{field} must be one of {', '.join(known)}", field=field)
