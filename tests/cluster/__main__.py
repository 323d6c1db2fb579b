"""The command line of the test cluster; `python -m tests.cluster --help`."""

import argparse
import signal
import sys
from collections.abc import Callable

from tests.cluster import cluster, docker, faults, images, nodeimage, tools
from tests.cluster.access import find
from tests.cluster.errors import ClusterError
from tests.cluster.paths import exclusive
from tests.cluster.progress import Progress

PROGRESS = Progress()
DESCRIPTION = """\
A real Kubernetes cluster of two nodes for tests and the demonstration, made with kind.

Where the public node image can be pulled, it is used. Where no registry answers, the node image is built from Go
modules and Debian packages (about ten minutes the first time, seconds afterwards). Where no Docker daemon runs and
you are root on Debian, one is installed and started, and `down` ends it. State and caches are in $SOLOIST_CACHE
(~/.cache/soloist); your own kubeconfig and your other clusters are never touched.
"""
EPILOG = """\
examples:
  python -m tests.cluster up                            make or repair the cluster, and wait until it is healthy
  export KUBECONFIG=$(python -m tests.cluster kubeconfig)
  python -m tests.cluster partition soloist-test-worker cut a node off the API server, and off nothing else
  python -m tests.cluster freeze bots/demo-0 --container engine
  python -m tests.cluster down                          remove it all again, also what a killed `up` left
"""


class Options(argparse.Namespace):
    """One command line; each command sets the words that it has."""

    action: Callable[["Options"], None]
    name: str
    images: bool
    keep_docker: bool
    image: str
    node: str
    pod: str
    container: str


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    root = argparse.ArgumentParser(
        prog="python -m tests.cluster",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--name", default=cluster.DEFAULT_NAME, help="the cluster (default $SOLOIST_CLUSTER or soloist-test)"
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(action: Callable[[Options], None], name: str, text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text, parents=[common])
        one.set_defaults(action=action)
        return one

    one = command(up, "up", "make the cluster, or repair the one that is there")
    one.add_argument("--images", action="store_true", help="also build Soloist's images and load them")
    one = command(down, "down", "remove the cluster, and end the Docker daemon that we started")
    one.add_argument("--keep-docker", action="store_true", help="leave our Docker daemon running")
    command(status, "status", "say whether the cluster is healthy")
    command(setup, "setup", "install and build every tool and the node image, without making a cluster")
    command(build_images, "images", "build Soloist's images and print their tags")
    command(kubeconfig, "kubeconfig", "print the path of the cluster's kubeconfig")
    command(load, "load", "copy an image from Docker into the nodes").add_argument("image")
    command(partition, "partition", "cut a worker off the API server").add_argument("node")
    command(heal, "heal", "undo partition").add_argument("node")
    one = command(freeze, "freeze", "stop all processes of a pod (SIGSTOP)")
    one.add_argument("pod", metavar="[NAMESPACE/]POD")
    one.add_argument("--container", default="", help="only this container")
    command(thaw, "thaw", "undo freeze").add_argument("pod", metavar="[NAMESPACE/]POD")
    return root


def up(options: Options) -> None:
    """Make or repair the cluster, with the images when asked."""
    running = cluster.ensure_up(options.name, PROGRESS)
    if options.images:
        images.load(running, images.ensure_images(PROGRESS), PROGRESS)


def down(options: Options) -> None:
    """Remove the cluster."""
    cluster.down(options.name, PROGRESS, keep_docker=options.keep_docker)


def status(options: Options) -> None:
    """Describe the cluster."""
    print(cluster.status(options.name))


def build_images(_options: Options) -> None:
    """Build the images and print their tags."""
    tags = images.ensure_images(PROGRESS)
    print(f"{tags.operator}\n{tags.trader}")


def kubeconfig(options: Options) -> None:
    """Print a path for `export KUBECONFIG=$(...)`."""
    print(find(options.name).kubeconfig)


def load(options: Options) -> None:
    """Load an image, whether the nodes hold one of that name or not: its content may differ."""
    with PROGRESS.step(f"loaded {options.image}"):
        find(options.name).load(options.image)


def partition(options: Options) -> None:
    """Cut a node off."""
    faults.partition(find(options.name), options.node)


def heal(options: Options) -> None:
    """Connect it again."""
    faults.heal(find(options.name), options.node)


def freeze(options: Options) -> None:
    """Stop a pod's processes."""
    count = faults.freeze(find(options.name), options.pod, options.container)
    print(f"stopped {count} processes of {options.pod}")


def thaw(options: Options) -> None:
    """Let them go on."""
    print(f"continued {faults.thaw(find(options.name), options.pod)} processes of {options.pod}")


def setup(_options: Options) -> None:
    """Make everything that `up` needs, without a cluster."""
    with exclusive(PROGRESS):
        daemon = docker.ensure(PROGRESS)
        for program in tools.ON_THE_HOST:
            tools.ensure(program, PROGRESS)
        nodeimage.ensure(daemon, PROGRESS)


def main() -> int:
    """Run the command line; return 0, or 1 after saying what went wrong."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # run the finally blocks of whoever is waiting
    try:
        options = parser().parse_args(namespace=Options())
        options.action(options)
    except ClusterError as error:
        print(f"tests.cluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
