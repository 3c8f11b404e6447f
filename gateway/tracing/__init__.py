"""Traces of pings for OpenTelemetry: a span for the ingress, the queue, the fan-out, each provider and each webhook.

The extra `tracing` installs the packages; without `tracing.endpoint` none of them is loaded.
"""

from gateway.tracing.pings import PingTracer, WebhookCall
from gateway.tracing.traceparent import TraceContext, parse

__all__ = ["PingTracer", "TraceContext", "WebhookCall", "parse"]
