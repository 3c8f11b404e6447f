"""Headers of every HTTP response of this product, on every listener."""

from typing import Final

SAFETY_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)
"""They prevent a browser from treating a response as a page: it does not interpret the body as another type than the
Content-Type's (Fetch Standard, "X-Content-Type-Options"), and it loads, runs and frames nothing of it (Content
Security Policy Level 3)."""
