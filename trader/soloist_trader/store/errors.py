"""What the store raises.

EngineError
+-- StoreError              the store cannot be used as asked; the message says what to do
    +-- StoreStaleError     only a rebuild makes the store usable again
"""

from __future__ import annotations

from soloist_trader.errors import EngineError


class StoreError(EngineError):
    """The store cannot be used as asked."""


class StoreStaleError(StoreError):
    """The store is of another schema version, of another journal, or behind what the journal still holds."""
