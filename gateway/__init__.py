"""The service: ingresses, queue, fan-out, delivery, receipts and the commands of operators. All I/O is here."""

from importlib.metadata import version

__version__ = version("rhopush")
