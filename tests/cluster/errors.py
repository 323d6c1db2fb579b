"""What the provider reports to a person instead of a traceback.

ClusterError            base: what happened, where, and what to do next
├── CommandError        a program failed: its command line, its status and its last lines
├── MissingError        something the machine must have, and the project may not install here
└── BusyError           another run holds the cache for longer than we wait
"""

from collections.abc import Sequence


class ClusterError(Exception):
    """The test cluster could not do what was asked."""


class MissingError(ClusterError):
    """The machine lacks something that we may not, or cannot, install."""


class BusyError(ClusterError):
    """Another run of the provider works in the same cache."""


class CommandError(ClusterError):
    """A program ended with an error or overran its time."""

    def __init__(self, argv: Sequence[str], reason: str, output: str) -> None:
        tail = "\n".join(output.strip().splitlines()[-30:])
        super().__init__(f"`{' '.join(argv)}` {reason}" + (f":\n{tail}" if tail else ""))
        self.output = output
