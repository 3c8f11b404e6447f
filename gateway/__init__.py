"""What happens to a ping: doors, queue, fan-out, delivery, outcomes and operations. All the I/O is here."""

from importlib.metadata import version

__version__ = version("rhopush")
