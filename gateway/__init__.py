"""The gateway: ingresses, queue, fan-out, delivery, receipts and operations. All I/O of the product is in this
package."""

from importlib.metadata import version

__version__ = version("rhopush")
