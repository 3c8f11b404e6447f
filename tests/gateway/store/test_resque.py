import pytest

from gateway.errors import BadSetting
from gateway.store.address import Address
from gateway.store.keys import ResqueKeys
from gateway.store.resque import Place, Taken


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
def test_where_resque_is(text: str, address: str, namespace: str) -> None:
    place = Place.parse(text)
    assert place == Place(Address.parse(address), ResqueKeys(namespace))
    assert place.names.queue("ping") == f"{namespace}:queue:ping"


def test_a_wrong_place_names_the_setting() -> None:
    with pytest.raises(BadSetting) as caught:
        Place.parse("localhost:x/shop")
    assert caught.value.field == "resque.redis"


def test_two_jobs_with_the_same_text_have_different_keys() -> None:
    one, other = Taken("1", "ping", b"{}"), Taken("2", "ping", b"{}")
    assert one.key != other.key
    assert one.key == Taken("1", "ping", b"{}").key
    assert one.key.body == other.key.body
