"""How to reach a cluster that is up, and where its state is kept."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import docker
from tests.cluster.command import run
from tests.cluster.docker import Docker
from tests.cluster.errors import ClusterError
from tests.cluster.paths import binary, cache, folder


@dataclass(frozen=True)
class Cluster:
    """A cluster that is up."""

    name: str
    docker: Docker

    @property
    def kubeconfig(self) -> Path:
        """The file that reaches the cluster as its administrator; never the user's own."""
        return state_folder(self.name) / "kubeconfig"

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes, which are the names of their containers; the control plane first."""
        return sorted(docker.containers(self.docker, self.name))

    def kubectl(self, *args: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002 (subprocess's own word)
        """Run kubectl and return its standard output. Raises CommandError unless `check` is false."""
        return run(binary("kubectl"), "--kubeconfig", self.kubeconfig, *args, stdin=input, check=check)

    def load(self, *tags: str) -> None:
        """Copy images from the Docker daemon into every node; together, so that shared layers travel once."""
        run(binary("kind"), "load", "docker-image", *tags, "--name", self.name, env=self.docker.environment)

    def lacks(self, tag: str) -> bool:
        """Tell whether some node has no image of this name."""
        listing = ("ctr", "--namespace", "k8s.io", "images", "list", "--quiet")
        return any(
            not re.search(rf"(^|/){re.escape(tag)}$", self.docker.run("exec", node, *listing), re.MULTILINE)
            for node in self.nodes
        )


def find(name: str) -> Cluster:
    """Return a cluster that was brought up before. Raises ClusterError when there is none."""
    check_name(name)
    daemon = docker.find()
    if daemon is None or not recorded(name) or not docker.containers(daemon, name):
        raise ClusterError(
            f"there is no cluster {name}; `python -m tests.cluster up --name {name}` makes one"
        )
    return Cluster(name, daemon)


def recorded(name: str) -> str:
    """Return the fingerprint of the cluster that was completed under this name, empty when there is none."""
    path = cache() / "clusters" / name / "fingerprint"
    return path.read_text() if path.exists() else ""


def was_begun(name: str) -> bool:
    """Tell whether an `up` of this name ever began and no `down` followed."""
    return (cache() / "clusters" / name).is_dir()


def state_folder(name: str) -> Path:
    """Return the folder with what is known about one cluster."""
    return folder("clusters", name)


def check_name(name: str) -> None:
    """Refuse a name that could be somebody else's cluster."""
    if not re.fullmatch(r"soloist-[a-z0-9-]{1,30}", name):
        raise ClusterError(
            f"cluster name {name!r} must look like soloist-NAME, so that no other cluster is touched"
        )
