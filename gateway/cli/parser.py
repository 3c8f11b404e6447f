"""The parser of a command's arguments, in which options may stand between positional arguments."""

import argparse
from typing import Any


class CommandParser(argparse.ArgumentParser):
    """A parser that accepts positional arguments of one list before and after options, as in `explain --json bob`.

    `argparse` alone ends such a list at the first option and refuses the rest. A parser with subcommands leaves this
    to the parsers of its subcommands, which have the same class.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plain = False

    def add_subparsers(self, **kwargs: Any) -> Any:
        """Add subcommands; see `argparse.ArgumentParser.add_subparsers`."""
        self._plain = True
        return super().add_subparsers(**kwargs)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments, and return their values and the arguments that are not known."""
        if self._plain:
            return super().parse_known_args(args, namespace)
        self._plain = True  # in Python 3.11, the intermixed parsing calls this method twice
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._plain = False
