"""The operations about the process: liveness, readiness, metrics, and the document itself."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.http_api.openapi.values import PLAIN, answer, json_answer, reference, text_answer
from gateway.http_api.ops import Liveness, ReadinessReport

FORMS: Final = (Liveness, ReadinessReport)
HEALTHZ: Final = answer(json_answer(reference("Liveness"), {"alive": True}, "The process runs."))
READYZ: Final[Mapping[str, Any]] = {
    "responses": {
        "200": json_answer(
            reference("ReadinessReport"), {"ready": True, "missing": {}, "degraded": {}}, "Ready."
        ),
        "503": json_answer(
            reference("ReadinessReport"),
            {"ready": False, "missing": {"redis": "does not answer"}, "degraded": {}},
            "Not ready: `missing` gives the reason for each component.",
        ),
    },
}
METRICS: Final = answer(
    text_answer("# HELP ...", "The metrics in the text format of Prometheus.", PLAIN),
)
OPENAPI: Final = answer(json_answer({"type": "object"}, {"openapi": "3.1.0"}, "This document."))
