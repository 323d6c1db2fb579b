"""The kind node image: the public one where it can be pulled, else our own, named by a hash of its recipe."""

import ast
import contextlib
import hashlib
from pathlib import Path

from tests.cluster import nodebuild, tools, versions
from tests.cluster.docker import Docker
from tests.cluster.errors import CommandError
from tests.cluster.paths import binary, write_atomically
from tests.cluster.progress import Progress

OWN = "soloist-node"


def ensure(docker: Docker, progress: Progress) -> str:
    """Return the tag of a node image that the daemon holds, with the kubectl that belongs to it in the cache."""
    tag = f"{OWN}:v{versions.KUBERNETES}-{recipe_hash()}"
    if not docker.has_image(tag):
        if docker.pull(versions.PUBLIC_NODE_IMAGE, progress):
            copy_kubectl(docker, progress)
            return versions.PUBLIC_NODE_IMAGE
        nodebuild.build(docker, tag, progress)
        prune(docker, tag)
    tools.ensure(tools.KUBERNETES, progress)
    return tag


def recipe_hash() -> str:
    """Return a hash of everything that shapes the image we build; comments and layout of the code do not count."""
    code = ast.dump(ast.parse(Path(nodebuild.__file__).read_text()))
    marks = [build.mark for build in (tools.KIND, *tools.IN_THE_NODE)]
    files = [path.read_bytes() for path in sorted(nodebuild.FILES.iterdir())]
    return hashlib.sha256(b"\0".join([repr((code, marks)).encode(), *files])).hexdigest()[:12]


def prune(docker: Docker, keep: str) -> None:
    """Remove what earlier recipes left, over a gigabyte each; an image that a cluster still runs stays."""
    docker.run("image", "prune", "--force", "--filter", f"label={nodebuild.STAGE_LABEL}")
    for tag in docker.run("images", "--format", "{{.Repository}}:{{.Tag}}", OWN).split():
        if tag != keep:
            with contextlib.suppress(CommandError):
                docker.run("rmi", tag)


def copy_kubectl(docker: Docker, progress: Progress) -> None:
    """Take kubectl out of the public node image: it is the release that the cluster runs, and needs no build."""
    mark = f"from {versions.PUBLIC_NODE_IMAGE}"
    if tools.mark("kubectl") == mark and binary("kubectl").exists():
        return
    with progress.step("copied kubectl from the node image"):
        container = docker.run("create", versions.PUBLIC_NODE_IMAGE).strip()
        draft = binary("kubectl").with_name(".kubectl.new")
        try:
            docker.run("cp", f"{container}:/usr/bin/kubectl", draft)
        finally:
            docker.run("rm", "--force", container)
        draft.replace(binary("kubectl"))
        write_atomically(tools.mark_file("kubectl"), mark)
