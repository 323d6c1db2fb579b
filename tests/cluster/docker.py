"""The Docker daemon: the one that runs already, or our own where we are root on Debian and none does.

Our own daemon keeps everything under the cache (data, socket, pid, log), has no default bridge and so meets no
other daemon's network, and is ended by `down`, by its pid.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import packages
from tests.cluster.command import run, succeeds
from tests.cluster.errors import ClusterError, CommandError
from tests.cluster.paths import RECIPE, cache, folder
from tests.cluster.progress import Progress

CAP_SYS_RESOURCE = 24  # linux/capability.h
SOCKET_PATH_LIMIT = 107  # bytes of sockaddr_un.sun_path, less its terminator
PULL_ANSWER_S = 4.0


@dataclass(frozen=True)
class Docker:
    """A daemon that answers. `host` is empty for the one that the client finds by itself."""

    host: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs in its environment to talk to this daemon."""
        return {"DOCKER_HOST": self.host} if self.host else {}

    def run(
        self, *args: str | Path, stdin: str | None = None, check: bool = True, timeout_s: float | None = None
    ) -> str:
        """Run `docker ARGS` and return what it prints. Raises CommandError."""
        return run("docker", *args, stdin=stdin, env=self.environment, check=check, timeout_s=timeout_s)

    def has_image(self, tag: str) -> bool:
        """Tell whether the daemon holds an image of this name."""
        return succeeds("docker", "image", "inspect", tag, env=self.environment)

    def build(self, tag: str, context: Path, arguments: dict[str, str]) -> None:
        """Build the Dockerfile in `context` without network, with the classic builder or BuildKit."""
        pairs = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        self.run("build", "--network=none", "--force-rm", "--tag", tag, *pairs, context)

    def pull(self, tag: str, progress: Progress) -> bool:
        """Pull a public image; False when the registry gives no answer within four seconds.

        Only the first answer is timed: a slow download is no reason to build an image ourselves.
        """
        if self.has_image(tag):
            return True
        with subprocess.Popen(
            ["docker", "pull", tag],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            os.set_blocking(process.stdout.fileno(), False)
            deadline_s = time.monotonic() + PULL_ANSWER_S
            first: bytes | None = None
            while not first and process.poll() is None and time.monotonic() < deadline_s:
                first = process.stdout.read()
                time.sleep(0.05)
            if not first:
                process.kill()
                return False
            os.set_blocking(process.stdout.fileno(), True)
            with progress.step(f"pulled {tag}"):
                process.stdout.read()
        return process.returncode == 0


def home() -> Path:
    """Return the folder of our own daemon."""
    return folder("docker")


def own() -> Docker:
    """Return our own daemon's address, whether it runs or not."""
    path = home() / "docker.sock"
    if len(str(path)) + len("/run/containerd/") > SOCKET_PATH_LIMIT:
        raise ClusterError(f"{path} is too long for a socket; choose a shorter SOLOIST_CACHE")
    return Docker(f"unix://{path}")


def answers(docker: Docker) -> bool:
    """Tell whether the daemon answers."""
    command = ("docker", "version", "--format", "{{.Server.Version}}")
    return succeeds(*command, env=docker.environment, timeout_s=10)


def find() -> Docker | None:
    """Return a daemon that answers: our own first, so that a state once made is found again."""
    if shutil.which("docker") is None:
        return None
    candidates = [own(), Docker()] if (home() / "docker.sock").exists() else [Docker()]
    return next((docker for docker in candidates if answers(docker)), None)


def ensure(progress: Progress) -> Docker:
    """Return a daemon that answers, installing and starting our own where there is none."""
    if docker := find():
        return docker
    if not packages.may_install():
        raise ClusterError(
            "no Docker daemon answers; start Docker (or point DOCKER_HOST at one), "
            "or run as root on Debian and one is installed and started for you"
        )
    packages.ensure(packages.DOCKER, progress)
    if docker := find():  # the package may have started the system's own daemon
        return docker
    with progress.step("started dockerd"):
        return start()


def start() -> Docker:
    """Start our own daemon and wait until it answers. Raises ClusterError with the end of its log."""
    docker = own()
    pid_file().unlink(missing_ok=True)  # none of ours runs, so a pid in it belongs to somebody else by now
    arguments = [
        "dockerd", "--host", docker.host, "--data-root", str(home() / "data"), "--exec-root", str(home() / "run"),
        "--pidfile", str(pid_file()), "--bridge", "none",
    ]  # fmt: skip
    if not have_capability(CAP_SYS_RESOURCE):
        shutil.copy2(RECIPE / "runc-without-sys-resource.sh", home() / "runc.sh")
        (home() / "runc.sh").chmod(0o755)
        arguments += ["--add-runtime", f"reduced={home() / 'runc.sh'}", "--default-runtime", "reduced"]
    log = home() / "dockerd.log"
    with log.open("wb") as stream:
        # Its own session: a Ctrl-C in our terminal must not end a daemon that others use.
        daemon = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
        )
    deadline_s = time.monotonic() + 60
    while not answers(docker):
        if daemon.poll() is not None or time.monotonic() > deadline_s:
            with contextlib.suppress(ProcessLookupError):
                daemon.terminate()
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise ClusterError(f"dockerd did not start; the end of {log}:\n{tail}")
        time.sleep(0.1)
    daemon.returncode = 0  # it outlives us on purpose; without this Python warns about a forgotten child
    return docker


def stop(progress: Progress) -> None:
    """End our own daemon, with the containers that it still runs. Does nothing when it does not run."""
    if not (pids := own_processes("dockerd")):
        return
    with progress.step("stopped dockerd"):
        for pid in pids:
            end(pid, patience_s=60)


def own_processes(program: str) -> list[int]:
    """Return the pids of `program` that run from our own folder, whoever their parent is now."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it ended while we looked
            continue
        if Path(words[0]).name == program and any(str(home()) in word for word in words[1:]):
            found.append(int(entry.parent.name))
    return found


def end(pid: int, patience_s: float) -> None:
    """Ask a process to end, wait, and kill it when it does not."""
    try:
        os.kill(pid, signal.SIGTERM)
        deadline_s = time.monotonic() + patience_s
        while time.monotonic() < deadline_s:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            os.kill(pid, 0)
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def pid_file() -> Path:
    """Return the file in which our own daemon writes its pid."""
    return home() / "dockerd.pid"


def have_capability(number: int) -> bool:
    """Tell whether a process started by us can hold a capability."""
    status = Path("/proc/self/status").read_text()
    bounding = re.search(r"^CapBnd:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return bounding is not None and bool(int(bounding[1], 16) >> number & 1)


def containers(docker: Docker, cluster: str) -> list[str]:
    """Return the names of a kind cluster's containers, running or not, found by kind's own label."""
    label = f"label=io.x-k8s.kind.cluster={cluster}"
    return docker.run("ps", "--all", "--filter", label, "--format", "{{.Names}}").split()


def is_idle(docker: Docker) -> bool:
    """Tell whether the daemon has no container at all."""
    return docker.run("ps", "--all", "--quiet").strip() == ""


def remove(docker: Docker, names: list[str]) -> None:
    """Remove containers with their anonymous volumes, whatever state they are in."""
    if names:
        with contextlib.suppress(
            CommandError
        ):  # a paused container must be woken to be killed on old daemons
            docker.run("unpause", *names)
        docker.run("rm", "--force", "--volumes", *names)


def state_exists() -> bool:
    """Tell whether our own daemon was ever started from this cache."""
    return (cache() / "docker" / "data").is_dir()
