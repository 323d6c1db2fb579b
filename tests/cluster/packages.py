"""Debian packages that the machine must have, installed when we are root on Debian."""

import os
import shutil
from pathlib import Path

from tests.cluster.command import run
from tests.cluster.errors import MissingError
from tests.cluster.progress import Progress

# program that proves a package is there -> packages that bring it
DOCKER = {"dockerd": ["docker.io"], "docker": ["docker.io"], "runc": ["runc"], "iptables": ["iptables"]}
IMAGE_BUILD = {"debootstrap": ["debootstrap"], "gcc": ["gcc", "libc6-dev"]}


def may_install() -> bool:
    """Tell whether we are root on a Debian-like system."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def ensure(programs: dict[str, list[str]], progress: Progress) -> None:
    """Install the packages of the programs that are missing. Raises MissingError where we may not."""
    missing = [name for name in programs if shutil.which(name) is None]
    if not missing:
        return
    names = sorted({package for program in missing for package in programs[program]})
    if not may_install():
        raise MissingError(
            f"the programs {', '.join(missing)} are missing (Debian packages: {' '.join(names)}); "
            "install them, or run as root on Debian and they are installed for you"
        )
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with progress.step(f"installed Debian packages {' '.join(names)}"):
        run("apt-get", "update", "-qq", env=quiet, timeout_s=300)
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *names, env=quiet, timeout_s=900)


def mirror(suite: str) -> str:
    """Return the address of the Debian archive that this machine's own apt uses for a suite.

    Taken from the machine, so that no host is written into the project. Raises MissingError when apt names none.
    """
    for source in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        for stanza in source.read_text().split("\n\n"):
            fields = dict(
                line.split(":", 1) for line in stanza.splitlines() if ":" in line and line[0] != "#"
            )
            if suite in fields.get("Suites", "").split() and "main" in fields.get("Components", ""):
                return fields["URIs"].split()[0]
    for source in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.list"))]:
        for line in source.read_text().splitlines() if source.exists() else []:
            words = [word for word in line.split() if not word.startswith("[") and not word.endswith("]")]
            if words[:1] == ["deb"] and words[2:3] == [suite]:
                return words[1]
    raise MissingError(
        f"apt on this machine names no archive with the suite {suite}; add one, or pull the public images"
    )
