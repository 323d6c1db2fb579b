"""`make demo`: from nothing to a bot that trades on a real cluster, then a live view of it. `make demo-down` removes it all.

Every step is one that a user takes: a cluster, two images, `helm install`, an exchange account, a Secret, `kubectl apply`.
Run again, it reuses what is there.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.cluster import Cluster, ClusterError, Progress, down, ensure_up, images, release
from tests.cluster.paths import binary

CLUSTER = "soloist-demo"
NAMESPACE = "bots"
BOT = "demo"
ACCOUNT_SECRET = "demo-management-key"  # noqa: S105  (the Secret's name, not its content)
BOT_FILE = Path(__file__).with_name("demo.yaml")
READY_TIMEOUT_S = 180

Result = TypeVar("Result")


class Steps:
    """Prints each step when it begins and its duration when it ends."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __call__(self, title: str, action: Callable[[], Result]) -> Result:
        """Run one step and return its result."""
        print(f"  …  {title}", flush=True)
        began = time.monotonic()
        result = action()
        print(f"  ok {title}  ({time.monotonic() - began:.1f} s)", flush=True)
        return result

    def total_s(self) -> float:
        """Seconds since the first step."""
        return time.monotonic() - self._started


def ensure_account(cluster: Cluster) -> None:
    """Give the demo an exchange account, once: the Secret with its management key is the mark."""
    if cluster.kubectl("-n", NAMESPACE, "get", "secret", ACCOUNT_SECRET, "--ignore-not-found", "-o", "name"):
        return
    account = release.create_account(cluster, f"demo-{int(time.time())}")
    secret = release.management_key_secret(account, NAMESPACE, ACCOUNT_SECRET)
    cluster.kubectl("apply", "-f", "-", input=json.dumps(secret))


def wait_ready(cluster: Cluster) -> None:
    """Wait until the bot is Ready, printing each change of its conditions; a failure prints what the bot says of itself."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    said = ""
    while time.monotonic() < deadline:
        bot = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "tradingbot", BOT, "-o", "json"))
        conditions = {c["type"]: c for c in bot.get("status", {}).get("conditions", [])}
        ready = conditions.get("Ready", {})
        now = f"{ready.get('reason', 'Pending')}: {ready.get('message', 'the operator has not looked yet')}"
        if now != said:
            print(f"       {now}", flush=True)
            said = now
        if ready.get("status") == "True" and ready.get("observedGeneration") == bot["metadata"]["generation"]:
            return
        time.sleep(0.5)
    raise SystemExit(
        f"{NAMESPACE}/{BOT} was not Ready after {READY_TIMEOUT_S} s; it says {said}\n"
        f"Look: kubectl --kubeconfig {cluster.kubeconfig} -n {NAMESPACE} describe tradingbot {BOT}"
    )


def watch(cluster: Cluster) -> int:
    """Follow the engine's orders, fills, position and P&L until Ctrl-C. The engine's own `watch` verb prints them."""
    command = [
        str(binary("kubectl")), "--kubeconfig", str(cluster.kubeconfig), "-n", NAMESPACE,
        "exec", f"{BOT}-0", "-c", "engine", "--", "soloist-trader", "watch",
    ]  # fmt: skip
    while True:
        process = subprocess.Popen(command)
        try:
            process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=10)
            return 0
        print("  …  the engine was replaced; looking for the new one (Ctrl-C to leave)", flush=True)
        try:
            wait_ready(cluster)
        except KeyboardInterrupt:
            return 0


def up(*, follow: bool) -> int:
    """Bring everything up, show the table, then the live view."""
    step = Steps()
    print("Soloist demo: tools, cluster, images, chart, account, bot", flush=True)
    progress = Progress(lambda line: print(f"       {line}", flush=True))
    cluster = step("cluster", lambda: ensure_up(CLUSTER, progress))
    tags = step("images", lambda: images.ensure_images(progress))
    step("images on every node", lambda: images.load(cluster, tags, progress))
    step(
        "helm install soloist",
        lambda: release.install(cluster, tags, bot_namespaces=[NAMESPACE]),
    )
    step("exchange account and its management key", lambda: ensure_account(cluster))
    step("kubectl apply -f examples/demo.yaml", lambda: cluster.kubectl("apply", "-f", str(BOT_FILE)))
    step(f"{BOT} Ready", lambda: wait_ready(cluster))
    print(f"\nAll steps took {step.total_s():.0f} s.  export KUBECONFIG={cluster.kubeconfig}\n")
    print("$ kubectl get tradingbots -A")
    print(cluster.kubectl("get", "tradingbots", "-A"), flush=True)
    if not follow:
        return 0
    print(
        "Orders, fills, position and P&L as they happen. Ctrl-C leaves; the bot goes on. `make demo-down` removes everything.\n"
    )
    return watch(cluster)


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--down", action="store_true", help="remove the demo's cluster and what it started")
    parser.add_argument(
        "--no-follow", action="store_true", help="end after the table instead of the live view"
    )
    arguments = parser.parse_args()
    if arguments.down:
        down(CLUSTER, Progress())
        return 0
    try:
        return up(follow=not arguments.no_follow and sys.stdout.isatty())
    except KeyboardInterrupt:
        print("\nLeft. What is built is kept; `make demo` goes on from there, `make demo-down` removes it.")
        return 130
    except (ClusterError, release.ReleaseError) as error:
        print(f"make demo stopped: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
