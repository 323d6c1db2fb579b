"""The operator's word in the Lease: whether this engine may begin, may go on, and in which state."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from soloist_trader.core import events
from soloist_trader.core.units import ACTIVE, HALTED, REDUCING
from soloist_trader.errors import FatalError
from soloist_trader.shell.clock import now_ms
from soloist_trader.shell.lease import LeaseAddress, LeaseClient, LeaseKeeper, Word
from soloist_trader.shell.logs import log
from soloist_trader.shell.venue_recovery import SafetyRecord, read_record

if TYPE_CHECKING:
    from soloist_trader.shell.service import Service

_DESIRED: Final = {"Running": ACTIVE, "Reducing": REDUCING, "Halted": HALTED, "Stopped": HALTED}


class Admission:
    """Holds the Lease of one engine. Outside a cluster there is none, and nothing here happens."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.admitted = asyncio.Event()
        self.safety: SafetyRecord | None = None
        """What an earlier engine left in the Lease; None if it said nothing, or before the Lease was read."""
        self._keeper: LeaseKeeper | None = None
        self._word = Word(0, "", "")
        self._heard = False

    @property
    def age_ms(self) -> int | None:
        """Since the last renewal; None outside a cluster."""
        return self._keeper.age_ms if self._keeper is not None else None

    def hurry(self) -> None:
        """Renew soon: what the Lease says has changed."""
        if self._keeper is not None:
            self._keeper.hurry()

    async def farewell(self) -> None:
        """Say that the engine ends."""
        if self._keeper is not None:
            await self._keeper.farewell()

    def start(self, address: LeaseAddress) -> LeaseKeeper:
        """Make the keeper; the caller runs it."""
        service = self._service
        client = LeaseClient(address, f"{service.options.pod_uid}/{service.identity.incarnation:x}")
        self._keeper = LeaseKeeper(
            client, lambda: service.publisher.report(service.options.pod_uid), self.on_word, self.on_silence
        )
        return self._keeper

    def on_word(self, word: Word) -> None:
        """The operator's word. A higher epoch, or any other one once trading, ends this engine."""
        service = self._service
        if not self._heard:
            self._heard = True
            # Nothing was renewed yet: it is what an earlier engine left.
            self.safety = read_record(word.report)
        if word != self._word:
            log("LeaseRead", f"epoch {word.epoch}, desired state {word.desired_state or 'not set'}")
            self._word = word
        live = service.configuration.mode == "Live"
        epoch = service.identity.epoch
        if live and (word.epoch > epoch or (self.admitted.is_set() and word.epoch != epoch)):
            service.fail(
                FatalError("EpochMismatch", f"the Lease is of epoch {word.epoch}, the key of {epoch}")
            )
            return
        other_pod = word.admitted_pod_uid not in {"", service.options.pod_uid}
        if other_pod and self.admitted.is_set():
            service.fail(FatalError("NotAdmitted", f"the operator admitted pod {word.admitted_pod_uid}"))
            return
        if (live and word.epoch != epoch) or other_pod:
            service.reconciler.last_error = (
                f"the Lease admits epoch {word.epoch}, pod {word.admitted_pod_uid or 'none'}"
            )
            return
        if self._keeper is not None and not self._keeper.held:
            if not self.admitted.is_set():
                self._keeper.hurry()  # it may be read; it is held when a renewal succeeded
        else:
            self.admitted.set()
            service.runtime.dispatch(events.Verb(now_ms(), "lease", ACTIVE, "renewed"))
        state = _DESIRED.get(word.desired_state)
        if state is not None:
            service.runtime.dispatch(
                events.Verb(now_ms(), "operator", state, f"desired state {word.desired_state}")
            )

    def on_silence(self, why: str) -> None:
        """A managed key can be taken away, so exits may go on; a Static one cannot, so nothing may."""
        state = REDUCING if self._service.has_managed_key else HALTED
        self._service.runtime.dispatch(events.Verb(now_ms(), "lease", state, f"lost: {why}"))
