"""All forms of a Redis address, and invalid ones."""

import pytest

from gateway.errors import BadSetting
from gateway.settings import Secret, Settings
from gateway.settings.model import QueueSettings
from gateway.store.address import RedisAddress, ResqueLocation, main_address, queue_address
from gateway.store.keys import ResqueKeys

FORMS = {
    "localhost:6379": RedisAddress("localhost", 6379),
    "redis1": RedisAddress("redis1", 6379),
    "redis1:7000:3": RedisAddress("redis1", 7000, 3),
    "redis1:7000:3:hu:sh": RedisAddress("redis1", 7000, 3, password=Secret("hu:sh")),
    "redis1:7000::hush": RedisAddress("redis1", 7000, 0, password=Secret("hush")),
    "redis://db": RedisAddress("db"),
    "redis://:hush@db:7000/2": RedisAddress("db", 7000, 2, password=Secret("hush")),
    "redis://user:hu%40sh@db/": RedisAddress("db", username="user", password=Secret("hu@sh")),
    "redis://db?db=4": RedisAddress("db", db=4),
    "redis://[::1]:7000": RedisAddress("::1", 7000),
    "rediss://db/1?ssl_ca_certs=/etc/ca.pem": RedisAddress("db", db=1, tls=True, ca_file="/etc/ca.pem"),
    "unix:///run/redis.sock?db=1": RedisAddress(unix_path="/run/redis.sock", db=1),
    "unix://:hush@/run/redis.sock": RedisAddress(unix_path="/run/redis.sock", password=Secret("hush")),
    "redis+sentinel://:hush@s1,s2:7001/mymaster/2?sentinel_password=psst": RedisAddress(
        db=2,
        password=Secret("hush"),
        sentinels=(("s1", 26379), ("s2", 7001)),
        service="mymaster",
        sentinel_password=Secret("psst"),
    ),
    "REDIS://db/1": RedisAddress("db", db=1),
    "Rediss+Sentinel://s1/m": RedisAddress(tls=True, sentinels=(("s1", 26379),), service="m"),
    "rediss+sentinel://s1/m": RedisAddress(tls=True, sentinels=(("s1", 26379),), service="m"),
}


@pytest.mark.parametrize(("text", "address"), FORMS.items(), ids=[*FORMS])
def test_an_address_is_read(text: str, address: RedisAddress) -> None:
    assert RedisAddress.parse(text) == address
    assert RedisAddress.parse(Secret(f" {text}\n")) == address


@pytest.mark.parametrize(("text", "address"), FORMS.items(), ids=[*FORMS])
def test_its_text_leads_to_the_same_server_and_shows_no_password(text: str, address: RedisAddress) -> None:
    for shown in (str(address), repr(address)):
        assert not any(secret in shown for secret in ("hush", "hu:sh", "hu@sh", "psst"))
    again = RedisAddress.parse(str(address))
    assert (again.host, again.port, again.db, again.unix_path) == (
        address.host,
        address.port,
        address.db,
        address.unix_path,
    )
    assert (again.sentinels, again.service, again.tls) == (address.sentinels, address.service, address.tls)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected host"),
        ("a b:6379", "expected host"),
        ("db:many", "the port must be a number"),
        ("db:99999", "the port must be a number from 0 to 65535"),
        ("db:-1", "the port must be a number from 0 to 65535"),
        ("db:6379:x:hush", "the database must be a number"),
        ("http://db", "unknown scheme 'http'"),
        ("redis://:hush@db:99999", "the port must be a number"),
        ("redis://:hush@db/name", "the database must be a number"),
        ("redis+sentinel://:hush@s1,s2", "needs the name of the service"),
        ("a..b:6379", "a part of the host name is empty"),
        ("redis://:hush@a..b", "a part of the host name is empty"),
        (f"redis://:hush@{'a' * 64}.example", "a part of the host name"),
        ("redis+sentinel://:hush@a,b..c/main", "a part of the host name"),
        ("redis://:hush@[::1", "not a well-formed URL"),
        ("redis://:hush@db?db=1&foo=hush", "unknown option 'foo'; redis:// accepts db$"),
        ("redis://:hush@db?foo", "unknown option 'foo'; redis:// accepts db$"),
        ("unix:///s?DB=1", "unknown option 'DB'; unix:// accepts db$"),
        ("redis://db?ssl_ca_certs=/ca", "unknown option 'ssl_ca_certs'; redis:// accepts db$"),
        ("rediss://db?ssl_cert_reqs=none", "'ssl_cert_reqs'; rediss:// accepts db, ssl_ca_certs$"),
        ("redis+sentinel://a,b/m?x=", r"'x'; redis\+sentinel:// accepts db, sentinel_password$"),
        (
            "rediss+sentinel://a/m/2?sentinel=hush",
            r"'sentinel'; rediss\+sentinel:// accepts db, ssl_ca_certs, sentinel_password$",
        ),
        ("redis://:hu?hush@db", "[?] as %3F"),
        ("redis://:hu?hush=1@db", "[?] as %3F"),
        ("redis://:hu#hush@db", "# as %23"),
        ("redis+sentinel://:hu#hush@a,b/m", "# as %23"),
        ("redis+sentinel://:hu?hush@a,b/m", "[?] as %3F"),
        ("rediss://db?ssl_ca_certs=hush%00", "a path of this machine is expected"),
        ("rediss://db?ssl_ca_certs=-----BEGIN%20PRIVATE%20KEY-----hush", "a path of this machine"),
        ("unix:///hush%00", "a path of this machine"),
        (f"unix:///{'hush' * 100}", "a path of this machine"),
        ("unix://", "a path of this machine"),
    ],
)
def test_an_invalid_address_is_refused_without_its_password(text: str, reason: str) -> None:
    with pytest.raises(BadSetting, match=reason) as refused:
        RedisAddress.parse(Secret(text))
    assert "hush" not in str(refused.value)


def test_the_queue_has_the_main_address_unless_it_has_its_own() -> None:
    shared = Settings(redis=Secret("db"))
    assert str(main_address(shared)) == str(queue_address(shared)) == "redis://db:6379/0"
    apart = Settings(redis=Secret("db"), queue=QueueSettings(redis=Secret("other")))
    assert str(queue_address(apart)) == "redis://other:6379/0"
    with pytest.raises(BadSetting, match="no address"):
        main_address(Settings())


@pytest.mark.parametrize(
    ("text", "address", "namespace"),
    [
        ("localhost:6379", "localhost:6379", "resque"),
        ("localhost", "localhost", "resque"),
        ("localhost:6379:2", "localhost:6379:2", "resque"),
        ("localhost:6379/shop", "localhost:6379", "shop"),
        ("localhost:6379:2/shop:jobs", "localhost:6379:2", "shop:jobs"),
        ("redis://:p@h:1/3", "redis://:p@h:1/3", "resque"),
        ("redis://h:1/3?namespace=shop", "redis://h:1/3", "shop"),
        ("rediss://h:1/3?namespace=shop&ssl_ca_certs=/ca", "rediss://h:1/3?ssl_ca_certs=/ca", "shop"),
        ("unix:///s?db=2&namespace=shop", "unix:///s?db=2", "shop"),
        ("redis+sentinel://a,b/main/1?namespace=shop", "redis+sentinel://a,b/main/1", "shop"),
    ],
)
def test_the_location_of_resque_is_an_address_and_a_namespace(
    text: str, address: str, namespace: str
) -> None:
    place = ResqueLocation.parse(text)
    assert place == ResqueLocation(RedisAddress.parse(address), ResqueKeys(namespace))
    assert place.names.queue("ping") == f"{namespace}:queue:ping"


def test_a_wrong_location_names_the_setting() -> None:
    with pytest.raises(BadSetting) as caught:
        ResqueLocation.parse("localhost:x/shop")
    assert caught.value.field == "resque.redis"
