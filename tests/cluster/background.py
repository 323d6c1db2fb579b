"""Bring the cluster up beside other work: tests that need none run while it starts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.cluster.command import tied
from tests.cluster.errors import ClusterError
from tests.cluster.paths import REPOSITORY, folder

# From nothing: a build of Kubernetes, two base images and both of ours, on two slow cores.
DEADLINE_S = 3600.0


class Bringup:
    """`python -m tests.cluster up --images` in a process of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.log: Path = folder("logs") / f"{name}-up.log"
        with self.log.open("wb") as stream:
            # A session of its own, so that all it started can be ended by one id.
            self._process = subprocess.Popen(
                tied(*self._command("up", "--images"), signal="TERM"),
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "tests.cluster", *words, "--name", self._name]

    def is_done(self) -> bool:
        """Tell whether the cluster is up, or failed to come up."""
        return self._process.poll() is not None

    def wait(self) -> None:
        """Wait until the cluster is up and the images are loaded. Raises ClusterError with the end of the log."""
        try:
            status = self._process.wait(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            status = None
        if status != 0:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])
            raise ClusterError(
                f"the cluster did not come up (status {status}); the end of {self.log}:\n{tail}"
            )

    def end(self, *, keep_cluster: bool) -> None:
        """End the bring-up if it still runs, and remove the cluster unless it is to be kept."""
        if not self.is_done():
            os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        if not keep_cluster:
            with self.log.open("ab") as stream:
                subprocess.run(
                    self._command("down"),
                    cwd=REPOSITORY,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    check=True,
                )
