"""Health, readiness, metrics and the description, over real sockets."""

from tests.gateway.http_api.harness import House, call


async def test_healthz_reports_alive_and_readyz_ready(api: House) -> None:
    assert (await call(api, method="GET", path="/healthz", token=None)).json == {"alive": True}
    ready = await call(api, method="GET", path="/readyz", token=None)
    assert (ready.status, ready.json) == (200, {"ready": True, "missing": {}, "degraded": {}})


async def test_an_unready_gateway_names_the_missing_parts(api: House) -> None:
    api.missing["redis"] = "does not answer"
    answer = await call(api, method="GET", path="/readyz", token=None)
    assert (answer.status, answer.json["ready"]) == (503, False)
    assert answer.json["missing"] == {"redis": "does not answer"}
    assert (await call(api, method="GET", path="/healthz", token=None)).status == 200


async def test_a_part_that_only_some_pings_need_leaves_it_ready(api: House) -> None:
    api.degraded["lane apns:A"] = "no_connection"
    answer = await call(api, method="GET", path="/readyz", token=None)
    assert (answer.status, answer.json["ready"]) == (200, True)
    assert answer.json["degraded"] == {"lane apns:A": "no_connection"}


async def test_metrics_are_served_as_prometheus_text(api: House) -> None:
    api.services.metrics.pings_accepted("http").inc(3)
    answer = await call(api, method="GET", path="/metrics", token=None)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b'rhopush_pings_accepted_total{ingress="http"} 3.0' in answer.body


async def test_answers_do_not_name_the_software(both: House) -> None:
    for path in ("/healthz", "/nowhere", "/rc/v1/users"):
        assert "server" not in (await call(both, method="GET", path=path)).headers
