"""The gateway: ingresses, queue, fan-out, delivery, receipts and operations. All I/O of the product is in this
package."""

from typing import Final

__version__: Final = "0.1.0"
"""The version in `pyproject.toml`, as a literal: to find it in the metadata of the installed package would take longer
than a short command."""
