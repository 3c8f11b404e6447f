"""The report as one page: no script, nothing loaded from elsewhere."""

from gateway.bench.report.document import Report


def page(report: Report) -> str:
    """HTML."""
    return ""
