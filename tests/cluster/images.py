"""Soloist's own images: `soloist-operator:HASH` and `soloist-trader:HASH`.

The hash is over everything that goes in, so an image is built once and loaded into a node once. A build needs no
network: wheels are collected on this machine from the hashed locks and handed in with the build context.
"""

import hashlib
import json
import platform
import shutil
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from tests.cluster import debian, docker, versions
from tests.cluster.access import Cluster, state_folder
from tests.cluster.command import pip, run
from tests.cluster.docker import Docker
from tests.cluster.errors import ClusterError
from tests.cluster.nodebuild import place
from tests.cluster.paths import REPOSITORY, exclusive, folder, write_atomically
from tests.cluster.progress import Progress

PYTHON_PACKAGES = ("ca-certificates", "python3", "python3-venv")
# glibc of Debian bookworm; wheels for any older one run too.
GLIBC_MINOR = 36


@dataclass(frozen=True)
class Tags:
    """The names of the two images."""

    operator: str
    trader: str


@dataclass(frozen=True)
class Recipe:
    """What one image is made of. `part` is the folder of its Dockerfile and the name of its lock file."""

    part: str
    packages: tuple[str, ...]

    @property
    def dockerfile(self) -> Path:
        """The Dockerfile, which removes the packages of the other image."""
        return REPOSITORY / self.part / "Dockerfile"

    @property
    def lock(self) -> Path:
        """The hashed lock of its third-party packages."""
        return REPOSITORY / "requirements" / f"{self.part}.txt"


OPERATOR = Recipe(
    "operator", ("operator/soloist_operator", "operator/soloist_fence", "trader/soloist_kalshi")
)
TRADER = Recipe("trader", ("trader/soloist_trader", "trader/soloist_kalshi", "trader/soloist_exchange"))


def ensure_images(progress: Progress) -> Tags:
    """Build the images that are missing and return their tags. Raises ClusterError."""
    with exclusive(progress):
        daemon = docker.ensure(progress)
        base = ensure_base(daemon, progress)
        return Tags(*(ensure(recipe, base, daemon, progress) for recipe in (OPERATOR, TRADER)))


def load(cluster: Cluster, tags: Tags, progress: Progress | None = None) -> None:
    """Load the images into the nodes that lack them."""
    progress = progress or Progress()
    with exclusive(progress):
        if missing := [tag for tag in astuple(tags) if cluster.lacks(tag)]:
            with progress.step(f"loaded {' '.join(missing)} into {cluster.name}"):
                cluster.load(*missing)
        write_atomically(state_folder(cluster.name) / "images.json", json.dumps(asdict(tags)))


def loaded(cluster: Cluster) -> Tags:
    """Return the images that were last loaded. Raises ClusterError when there were none."""
    path = state_folder(cluster.name) / "images.json"
    if not path.exists():
        raise ClusterError(
            f"cluster {cluster.name} has no images; `python -m tests.cluster up --images` loads them"
        )
    return Tags(**json.loads(path.read_text()))


def ensure_base(daemon: Docker, progress: Progress) -> str:
    """Return the tag of an image with Python: the public one where it can be pulled, else Debian's own."""
    local = debian.tag("soloist-python-base", PYTHON_PACKAGES)
    if daemon.has_image(local):
        return local
    if daemon.pull(versions.PUBLIC_PYTHON_IMAGE, progress):
        return versions.PUBLIC_PYTHON_IMAGE
    return debian.ensure_base(daemon, "soloist-python-base", PYTHON_PACKAGES, progress)


def ensure(recipe: Recipe, base: str, daemon: Docker, progress: Progress) -> str:
    """Build one image unless it is there, and return its tag."""
    tag = f"soloist-{recipe.part}:{content_hash(recipe, base)}"
    if not daemon.has_image(tag):
        wheels = ensure_wheels(recipe, progress)
        with progress.step(f"built {tag}"):
            context = folder("build") / f"image-{recipe.part}"
            shutil.rmtree(context, ignore_errors=True)
            (context / "project").mkdir(parents=True)
            shutil.copy(recipe.dockerfile, context)
            for path in wheels.iterdir():
                place(path, context / "wheels" / path.name)
            build_project_wheel(context / "project")
            daemon.build(tag, context, {"BASE": base})
            shutil.rmtree(context)
    return tag


def content_hash(recipe: Recipe, base: str) -> str:
    """Return a hash of everything that goes into an image."""
    digest = hashlib.sha256(base.encode())
    sources = [recipe.dockerfile, recipe.lock, REPOSITORY / "pyproject.toml"]
    for name in recipe.packages:
        files = (REPOSITORY / name).rglob("*")
        sources += [path for path in files if path.is_file() and "__pycache__" not in path.parts]
    for path in sorted(sources):
        digest.update(f"\0{path.relative_to(REPOSITORY)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def ensure_wheels(recipe: Recipe, progress: Progress) -> Path:
    """Return a folder with the locked wheels for the image's Python, each checked against its hash, and the lock."""
    name = hashlib.sha256(recipe.lock.read_bytes()).hexdigest()[:12]
    wheels = folder("wheels") / name
    if wheels.is_dir():
        return wheels
    with progress.step(f"collected the wheels of requirements/{recipe.part}.txt"):
        draft = wheels.with_name(f".{name}")
        shutil.rmtree(draft, ignore_errors=True)
        run(
            *pip(), "download", "--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:",
            "--python-version", versions.PYTHON, "--implementation", "cp", *platforms(),
            "--requirement", recipe.lock, "--dest", draft, timeout_s=1200,
        )  # fmt: skip
        shutil.copy(recipe.lock, draft / "requirements.txt")
        draft.replace(wheels)
    return wheels


def platforms() -> list[str]:
    """Return pip's options for wheels that run on Debian bookworm, whatever system this machine has."""
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC_MINOR, 4, -1)]
    tags += [f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")]
    return [word for tag in tags for word in ("--platform", tag)]


def build_project_wheel(destination: Path) -> None:
    """Build the wheel of the working tree, with the build backend that is installed here."""
    run(
        *pip(), "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", destination, REPOSITORY,
        timeout_s=300,
    )  # fmt: skip
