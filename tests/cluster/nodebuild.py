"""Build a kind node image from Go modules and Debian packages.

It follows kind's Dockerfile of its base image (`images/base` of the kind module) and holds the system images that
kubeadm asks for, each with one program. Two things differ: kube-router is the pod network, because kindnetd is not
published as a module, and runc is Debian's.
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import debian, packages, tools, versions
from tests.cluster.command import run
from tests.cluster.docker import Docker
from tests.cluster.errors import ClusterError
from tests.cluster.paths import RECIPE, binary, folder
from tests.cluster.progress import Progress

FILES = RECIPE / "node"
NODE_PACKAGES = (
    "bash", "busybox", "ca-certificates", "conntrack", "containernetworking-plugins", "curl", "e2fsprogs",
    "ethtool", "ipset", "iproute2", "iptables", "iputils-ping", "jq", "kmod", "libseccomp2", "mount", "nftables",
    "pigz", "procps", "runc", "systemd", "util-linux",
)  # fmt: skip
# Marks the intermediate stage, which holds every system image twice, for removal.
STAGE_LABEL = "soloist.stage"
PROVISIONER_IMAGE = "kindest/local-path-provisioner:local"
HELPER_IMAGE = "kindest/local-path-helper:local"
ROUTER_IMAGE = "kindest/kube-router:local"


@dataclass(frozen=True)
class SystemImage:
    """An image that the cluster itself runs: one program on nothing, or on the node's Debian."""

    tag: str
    program: str
    destination: str
    on_debian: bool = False
    dockerfile: str = ""


def build(docker: Docker, tag: str, progress: Progress) -> None:
    """Build our own node image under the name `tag`."""
    packages.ensure(packages.IMAGE_BUILD, progress)
    for program in tools.IN_THE_NODE:
        tools.ensure(program, progress)
    base = debian.ensure_base(docker, "soloist-node-base", NODE_PACKAGES, progress)
    with progress.step(f"built node image {tag}", expect="40 s"):
        context = folder("build") / "node"
        shutil.rmtree(context, ignore_errors=True)
        (context / "root").mkdir(parents=True)
        shutil.copy(FILES / "Dockerfile", context)
        stage_root(context / "root")
        save_system_images(docker, base, context)
        docker.build(tag, context, {"BASE": base})
        shutil.rmtree(context)


def stage_root(root: Path) -> None:
    """Lay out the files that the node has beyond its Debian packages."""
    kind = tools.source(tools.KIND)
    for name in ("etc", "kind", "usr"):
        shutil.copytree(kind / "images/base/files" / name, root / name)
    for path in root.rglob("*"):  # the module cache is read-only
        runs = path.is_dir() or path.parent.name == "bin"
        path.chmod(0o755 if runs else 0o644)
    for name in ("containerd", "containerd-shim-runc-v2", "ctr"):
        place(binary(name), root / "usr/local/bin" / name)
    for name in ("kubelet", "kubectl", "kubeadm"):
        place(binary(name), root / "usr/bin" / name)
    manifests = root / "kind/manifests"
    manifests.mkdir()
    (root / "kind/version").write_text(f"v{versions.KUBERNETES}")
    shutil.copy(FILES / "default-cni.yaml", manifests)
    storage = (kind / "pkg/build/nodeimage/const_storage.go").read_text()
    (manifests / "default-storage.yaml").write_text(storage_manifest(storage))


def storage_manifest(source: str) -> str:
    """Return kind's storage manifest, a Go constant in its source, with our image names."""
    found = re.search(r"const defaultStorageManifest = `\n(.*)`\s*\Z", source, re.DOTALL)
    if found is None:
        raise ClusterError(
            f"kind {versions.KIND} keeps its storage manifest elsewhere; adapt nodeimage.storage_manifest"
        )
    text = found[1]
    for constant, image in (
        ("storageProvisionerImage", PROVISIONER_IMAGE),
        ("storageHelperImage", HELPER_IMAGE),
    ):
        text = text.replace(f"` + {constant} + `", image)
    if "`" in text:
        raise ClusterError(
            f"kind {versions.KIND} names another image in its storage manifest; adapt nodeimage.py"
        )
    return text


def save_system_images(docker: Docker, base: str, context: Path) -> None:
    """Build every system image and save them as one archive, shared layers once."""
    images = system_images()
    for image in images:
        work = context.with_name("node-system-image")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        if image.program:
            place(binary(image.program), work / "root" / image.destination)
            copy = "COPY root/ /\n"
        else:
            copy = ""
        if image.tag == ROUTER_IMAGE:
            place(FILES / "cni.conflist", work / "root/etc/kube-router/cni.conflist")
        origin = base if image.on_debian else "scratch"
        (work / "Dockerfile").write_text(f"FROM {origin}\n{copy}{image.dockerfile}")
        docker.build(image.tag, work, {})
        shutil.rmtree(work)
    docker.run("save", "--output", context / "images.tar", *(image.tag for image in images))


def system_images() -> list[SystemImage]:
    """Return the images that kubeadm asks for, by the names that it gives them, and those of network and storage."""
    wanted = run(
        binary("kubeadm"), "config", "images", "list", "--kubernetes-version", f"v{versions.KUBERNETES}"
    )
    tags = {re.split(r"[/:]", name)[-2]: name for name in wanted.split()}
    bin_folder = "usr/local/bin"
    images = [
        SystemImage(tags[name], name, f"{bin_folder}/{name}")
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
    ]
    images += [
        SystemImage(tags["kube-proxy"], "kube-proxy", f"{bin_folder}/kube-proxy", on_debian=True),
        SystemImage(tags["coredns"], "coredns", "coredns", dockerfile='ENTRYPOINT ["/coredns"]\n'),
        SystemImage(ROUTER_IMAGE, "kube-router", f"{bin_folder}/kube-router", on_debian=True),
        SystemImage(PROVISIONER_IMAGE, "local-path-provisioner", "usr/bin/local-path-provisioner"),
        SystemImage(HELPER_IMAGE, "", "", on_debian=True, dockerfile='CMD ["sh"]\n'),
    ]
    compile_pause()
    sandbox = re.search(r'sandbox_image = "(\S+)"', containerd_settings())
    for tag in sorted(
        {tags["pause"], *(sandbox.groups() if sandbox else ())}
    ):  # containerd and kubeadm differ
        images.append(
            SystemImage(tag, "pause", "pause", dockerfile='USER 65535:65535\nENTRYPOINT ["/pause"]\n')
        )
    return images


def containerd_settings() -> str:
    """Return the containerd configuration that kind ships."""
    return (tools.source(tools.KIND) / "images/base/files/etc/containerd/config.toml").read_text()


def compile_pause() -> None:
    """Compile the program that holds a pod's namespaces: 60 lines of C in the Kubernetes source."""
    code = tools.source(tools.KUBERNETES) / "build/pause/linux/pause.c"
    run("gcc", "-Os", "-static", "-DVERSION=soloist", "-o", binary("pause"), code)


def place(source: Path, destination: Path) -> None:
    """Put a file into a build context, as a hard link where the file system allows it."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, destination)
    except OSError:
        shutil.copy2(source, destination)
