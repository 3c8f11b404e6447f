"""Headers of every HTTP answer of this product, whichever listener gives it."""

from typing import Final

SAFETY_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
)
"""They keep a browser from treating an answer as a page: the browser takes the body for nothing else than the
Content-Type says (Fetch Standard, "X-Content-Type-Options"), and it loads, runs and frames nothing of it (Content
Security Policy Level 3)."""
