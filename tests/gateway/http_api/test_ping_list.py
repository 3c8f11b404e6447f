"""The route that lists pings."""

import pytest

from tests.gateway.http_api.harness import House, call


async def test_a_list_requires_the_token(both: House) -> None:
    both.reports.known |= {str(number): {"ping_id": str(number)} for number in range(3)}
    path = "/rc/v1/pings"
    answer = await call(both, method="GET", path=path)
    assert (answer.status, answer.json["next_cursor"]) == (200, None)
    assert [ping["ping_id"] for ping in answer.json["pings"]] == ["0", "1", "2"]
    assert len((await call(both, method="GET", path=f"{path}?limit=2&state=done")).json["pings"]) == 2
    assert (await call(both, method="GET", path=path, token=None)).status == 422


@pytest.mark.parametrize(
    "query", ["state=finished", "limit=0", "limit=501", "limit=x", "cursor=x", "cursor="]
)
async def test_an_invalid_parameter_of_a_list_is_400_and_named(both: House, query: str) -> None:
    answer = await call(both, method="GET", path=f"/rc/v1/pings?{query}")
    assert (answer.status, answer.error["field"]) == (400, query.partition("=")[0])
