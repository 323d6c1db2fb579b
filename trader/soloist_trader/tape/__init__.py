"""The tape: every input of the core, in the sequence in which it was stepped, so that a run can be replayed bit for bit."""

from soloist_trader.tape.errors import TapeError
from soloist_trader.tape.files import FileSink
from soloist_trader.tape.reader import TapeReader
from soloist_trader.tape.writer import Tape

__all__ = ["FileSink", "Tape", "TapeError", "TapeReader"]
