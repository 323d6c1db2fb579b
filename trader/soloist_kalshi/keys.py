"""Which key signs right now. During a rotation two keys are loaded; the swap is one assignment."""

from dataclasses import dataclass

from soloist_kalshi.errors import VenueKeyError
from soloist_kalshi.signing import Signer

__all__ = ["KeySlot", "SignerSource"]

_SLOTS = 2


@dataclass(frozen=True, slots=True)
class KeySlot:
    """One key of an epoch; a higher generation is newer."""

    generation: int
    signer: Signer


class SignerSource:
    """At most two slots, of which one signs.

    `load` takes what the key directory holds; a key that is new is a candidate until `promote` (after a signed read with it succeeded).
    Clients ask for `current` at each request, so a swap needs no reconnect and no lock (one event loop).
    """

    def __init__(self, signer: Signer, generation: int = 1) -> None:
        self._slots: tuple[KeySlot, ...] = (KeySlot(generation, signer),)
        self._current = self._slots[0]

    @property
    def current(self) -> Signer:
        """The signer for the next request."""
        return self._current.signer

    @property
    def generation(self) -> int:
        """The generation of the key that signs."""
        return self._current.generation

    @property
    def slots(self) -> tuple[KeySlot, ...]:
        """The loaded slots, oldest first."""
        return self._slots

    def load(self, slots: list[KeySlot]) -> tuple[KeySlot, ...]:
        """Replace the loaded slots and return the candidates (newer than the current), newest first.

        When the current key is gone from the slots it signs on until another is promoted: whoever removed it is deleting it at the
        venue, and the first 401 then says so. Raises VenueKeyError for none, too many or two of one generation.
        """
        generations = [slot.generation for slot in slots]
        if not slots or len(slots) > _SLOTS or len(set(generations)) != len(slots):
            raise VenueKeyError(
                f"expected one or {_SLOTS} keys of different generations, got {sorted(generations)}"
            )
        self._slots = tuple(sorted(slots, key=lambda slot: slot.generation))
        newer = [slot for slot in self._slots if slot.generation > self._current.generation]
        return tuple(reversed(newer))

    def promote(self, generation: int) -> None:
        """Let the slot of this generation sign from now on; raises VenueKeyError when it is not loaded."""
        for slot in self._slots:
            if slot.generation == generation:
                self._current = slot
                return
        raise VenueKeyError(f"no key of generation {generation} is loaded")
