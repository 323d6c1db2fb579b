"""`python -m tests.model`: every search, the large ones too, as a tab-separated table; `--traces` says how a change fails."""

from __future__ import annotations

import sys
import time

from tests.model.explorer import explore
from tests.model.settings import FAILS, HOLDS


def main(arguments: list[str]) -> int:
    """Run every search; return 1 when one of them does not say what it must."""
    wrong = 0
    print("search\tstates\tseconds\tsaid", flush=True)
    for name, search in HOLDS.items():
        began_s = time.monotonic()
        found = explore(search.setting, live=search.live)
        said = found.violation or ("holds, complete" if found.complete else "holds, not complete")
        wrong += bool(found.violation)
        print(f"{name}\t{found.states}\t{time.monotonic() - began_s:.1f}\t{said}", flush=True)
    for mutation, (search, invariant) in FAILS.items():
        began_s = time.monotonic()
        found = explore(search.setting._replace(mutations=frozenset({mutation})), live=search.live)
        wrong += not found.violation.startswith(invariant)
        said = f"fails: {found.violation}" if found.violation else "NOT NOTICED"
        print(f"with {mutation}\t{found.states}\t{time.monotonic() - began_s:.1f}\t{said}", flush=True)
        if "--traces" in arguments:
            print("".join(f"\t{step}\n" for step in found.trace), end="", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
