"""A Debian base image made with debootstrap, for machines that reach no image registry."""

import hashlib
import shutil
from collections.abc import Sequence

from tests.cluster import packages, versions
from tests.cluster.command import pipe, run
from tests.cluster.docker import Docker
from tests.cluster.paths import folder
from tests.cluster.progress import Progress

# Read by nobody in a container.
DROPPED = (
    "var/cache/apt/archives", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man",
    "usr/share/locale", "usr/share/info",
)  # fmt: skip


def tag(name: str, include: Sequence[str]) -> str:
    """Return the name of an image; it carries a hash of the recipe, so that a changed list makes a new image."""
    recipe = repr((versions.DEBIAN_SUITE, sorted(include), DROPPED))
    return f"{name}:{versions.DEBIAN_SUITE}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def ensure_base(docker: Docker, name: str, include: Sequence[str], progress: Progress) -> str:
    """Return the tag of a Debian image with the packages `include`, made unless it is there."""
    wanted = tag(name, include)
    if docker.has_image(wanted):
        return wanted
    packages.ensure(packages.IMAGE_BUILD, progress)
    with progress.step(f"made base image {wanted} with debootstrap", expect="40 s"):
        root = folder("build") / name
        shutil.rmtree(root, ignore_errors=True)
        run(
            "debootstrap", "--variant=minbase", f"--include={','.join(include)}",
            f"--cache-dir={folder('debs')}", versions.DEBIAN_SUITE, root, packages.mirror(versions.DEBIAN_SUITE),
            timeout_s=1200,
        )  # fmt: skip
        for path in DROPPED:
            shutil.rmtree(root / path, ignore_errors=True)
            (root / path).mkdir(parents=True)
        (root / "etc/machine-id").write_text("")  # every container would claim to be the same machine
        (root / "var/lib/dbus/machine-id").unlink(missing_ok=True)
        archive = ["tar", "--directory", str(root), "--numeric-owner", "--create", "."]
        pipe(archive, ["docker", "import", "-", wanted], env=docker.environment)
        shutil.rmtree(root)
    return wanted
