"""Which worlds are searched: those in which the protocol must hold, and those in which a changed protocol must fail."""

from __future__ import annotations

from dataclasses import dataclass

from tests.model.world import Setting


@dataclass(frozen=True)
class Search:
    """One search. `live`: a bot must be able to trade in the end. `large`: not in every CI run, see `make model`."""

    setting: Setting
    live: bool = False
    large: bool = False


HOLDS = {
    "one cluster, two attempts": Search(Setting(attempts=2)),
    "one cluster, three attempts, two deaths": Search(Setting(attempts=3, deaths=2)),
    "one cluster, three attempts, always able to go on": Search(
        Setting(attempts=3, deaths=2, eager=False), live=True
    ),
    "two operators that pause": Search(Setting(operators=2, attempts=2)),
    "two operators that pause, always able to go on": Search(
        Setting(operators=2, attempts=3, eager=False), live=True
    ),
    "two operators that pause, three attempts": Search(Setting(operators=2, attempts=3), large=True),
    "two clusters, two attempts": Search(Setting(clusters=2, attempts=2)),
    "two clusters, always able to go on": Search(
        Setting(clusters=2, attempts=3, deaths=2, eager=False), live=True
    ),
    "two clusters, three attempts": Search(Setting(clusters=2, attempts=3), large=True),
    "one rotation": Search(Setting(attempts=1, rotations=1)),
    "two rotations at once": Search(Setting(attempts=1, rotations=2, deaths=2)),
    "a rotation beside a takeover": Search(Setting(attempts=2, rotations=1)),
    "two rotations beside a takeover": Search(Setting(attempts=2, rotations=2, deaths=0), large=True),
    "stale listings, three attempts, two deaths": Search(Setting(attempts=3, deaths=2, stale=True)),
    "stale listings, two clusters": Search(Setting(clusters=2, attempts=2, stale=True)),
    "stale listings, two clusters, always able to go on": Search(
        Setting(clusters=2, attempts=3, deaths=2, stale=True, eager=False), live=True
    ),
    "stale listings, two clusters, three attempts": Search(
        Setting(clusters=2, attempts=3, stale=True), large=True
    ),
    "stale listings, two operators that pause": Search(
        Setting(operators=2, attempts=2, deaths=2, stale=True)
    ),
    "stale listings, a rotation beside a takeover": Search(Setting(attempts=2, rotations=1, stale=True)),
    "stale listings, two rotations at once": Search(Setting(attempts=1, rotations=2, deaths=1, stale=True)),
    "stale listings, etcd restored": Search(
        Setting(attempts=3, restores=1, stale=True, sequential=True), large=True
    ),
    "etcd restored": Search(Setting(attempts=2, restores=1)),
    "etcd restored, two operators that pause": Search(Setting(operators=2, attempts=2, restores=1)),
    "two clusters, a rotation beside the takeovers": Search(Setting(clusters=2, attempts=2, rotations=1)),
    "etcd restored, three attempts in turn": Search(Setting(attempts=3, restores=1, sequential=True)),
    "etcd restored, four attempts in turn": Search(
        Setting(attempts=4, restores=1, sequential=True), large=True
    ),
    "etcd restored, three attempts": Search(Setting(attempts=3, restores=1), large=True),
    "etcd restored beside a rotation": Search(
        Setting(attempts=2, restores=1, rotations=1, sequential=True), large=True
    ),
    "only the claim restored, three attempts": Search(
        Setting(attempts=3, restores=1, whole_etcd=False, sequential=True)
    ),
    "only the claim restored, two clusters": Search(
        Setting(clusters=2, attempts=2, restores=1, whole_etcd=False)
    ),
}

# A change to the protocol, the world that shows what is wrong with it, and the invariant that breaks.
FAILS = {
    "check before create": (Search(Setting(clusters=2, attempts=2)), "I2"),
    "no wait": (Search(Setting(attempts=2)), "I2"),
    "wait before create": (Search(Setting(clusters=2, attempts=3)), "I2"),
    "publish before wait": (Search(Setting(attempts=2)), "I2"),
    "no wait for the list": (Search(Setting(clusters=2, attempts=2, stale=True)), "I2"),
    "no sole-key check": (Search(Setting(clusters=2, attempts=2)), "I2"),
    "sweep last": (Search(Setting(attempts=2)), "I2"),
    "sweep of unknown nonces": (Search(Setting(attempts=3, restores=1, sequential=True)), "I7"),
    "retry inside one epoch": (Search(Setting(attempts=2, eager=False), live=True), "liveness"),
    "force-apply on the claim": (Search(Setting(operators=2, attempts=2, rotations=1)), "I6"),
    "epoch is claim plus one": (Search(Setting(attempts=4, restores=1, sequential=True)), "I1"),
    "orders judged only by the sweep": (Search(Setting(attempts=4, restores=1, sequential=True)), "I1"),
    "secret named by epoch only": (Search(Setting(attempts=3, restores=1, sequential=True)), "two holders"),
    "evidence survives the operator": (Search(Setting(attempts=1, restores=1)), "two holders"),
    "release before evidence": (Search(Setting(attempts=1)), "two holders"),
    "rotation check before create": (
        Search(Setting(attempts=2, rotations=1, restores=1, sequential=True)),
        "I2",
    ),
    "rotation of a swept epoch": (
        Search(Setting(attempts=2, rotations=1, restores=1, sequential=True)),
        "I2",
    ),
    "leftovers deleted at once": (Search(Setting(attempts=1, rotations=2, deaths=2)), "I6"),
    "withdrawn key deleted at once": (Search(Setting(attempts=1, rotations=1)), "I6"),
}
