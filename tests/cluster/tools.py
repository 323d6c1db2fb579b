"""Programs built from pinned Go modules, each with a mark that says which recipe made it."""

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import golang, versions
from tests.cluster.command import run
from tests.cluster.paths import binary, folder, write_atomically
from tests.cluster.progress import Progress

GO_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
GO_TIMEOUT_S = 3000.0


@dataclass(frozen=True)
class GoBuild:
    """One `go build`: the programs of one module.

    `programs` maps a program to its package. `fork` replaces the module by another of the same version, and
    `staging` is the prefix of modules that Kubernetes keeps in its own tree and publishes as v0.MINOR.PATCH.
    """

    module: str
    version: str
    programs: dict[str, str]
    fork: str = ""
    staging: str = ""
    link_flags: str = "-s -w"
    expect: str = ""

    @property
    def mark(self) -> str:
        """A text that changes with anything that shapes the programs."""
        recipe = json.dumps([*vars(self).values(), versions.GO_DIRECTIVE, sorted(GO_ENVIRONMENT.items())])
        return f"{self.module}@{self.version} {hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def kubernetes_link_flags() -> str:
    """Stamp the release into the programs: kubeadm and the kubelet compare versions."""
    major, minor, _ = versions.KUBERNETES.split(".")
    stamps = [
        f"-X {package}.{name}={value}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for name, value in (
            ("gitVersion", f"v{versions.KUBERNETES}"),
            ("gitMajor", major),
            ("gitMinor", minor),
        )
    ]
    return " ".join(["-s -w", *stamps])


KIND = GoBuild("sigs.k8s.io/kind", versions.KIND, {"kind": "sigs.k8s.io/kind"})
HELM = GoBuild("helm.sh/helm/v3", versions.HELM, {"helm": "helm.sh/helm/v3/cmd/helm"})
KUBECONFORM = GoBuild(
    "github.com/yannh/kubeconform",
    versions.KUBECONFORM,
    {"kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform"},
)
ON_THE_HOST = (KIND, HELM, KUBECONFORM)

KUBERNETES = GoBuild(
    "k8s.io/kubernetes",
    f"v{versions.KUBERNETES}",
    {
        name: f"k8s.io/kubernetes/cmd/{name}"
        for name in (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kube-proxy",
            "kubelet",
            "kubeadm",
            "kubectl",
        )
    },
    staging="k8s.io/",
    link_flags=kubernetes_link_flags(),
    expect="6 min with an empty Go cache",
)
IN_THE_NODE = (
    KUBERNETES,
    GoBuild("go.etcd.io/etcd/server/v3", versions.ETCD, {"etcd": "go.etcd.io/etcd/server/v3"}),
    GoBuild(
        "github.com/containerd/containerd/v2",
        versions.CONTAINERD,
        {
            name: f"github.com/containerd/containerd/v2/cmd/{name}"
            for name in ("containerd", "containerd-shim-runc-v2", "ctr")
        },
    ),
    GoBuild("github.com/coredns/coredns", versions.COREDNS, {"coredns": "github.com/coredns/coredns"}),
    # Pod network and NetworkPolicy, in place of kindnetd, which is not published as a module.
    GoBuild(
        "github.com/cloudnativelabs/kube-router/v2",
        versions.KUBE_ROUTER,
        {"kube-router": "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"},
        fork="github.com/k3s-io/kube-router/v2",
    ),
    GoBuild(
        "github.com/rancher/local-path-provisioner",
        versions.LOCAL_PATH_PROVISIONER,
        {"local-path-provisioner": "github.com/rancher/local-path-provisioner"},
    ),
)


def source(build: GoBuild) -> Path:
    """Return the folder with a module's source, downloaded when it is not there."""
    report = run(
        *golang.command(),
        "mod",
        "download",
        "-json",
        f"{build.module}@{build.version}",
        timeout_s=GO_TIMEOUT_S,
    )
    return Path(json.loads(report)["Dir"])


def ensure(build: GoBuild, progress: Progress) -> None:
    """Build the programs of one module into the cache, unless they are there already."""
    if all(mark(name) == build.mark and binary(name).exists() for name in build.programs):
        return
    with progress.step(f"built {' '.join(build.programs)} ({build.version})", expect=build.expect):
        compile_programs(build)


def compile_programs(build: GoBuild) -> None:
    """Run `go build` in a wrapper module: a module with `replace` lines cannot be installed directly."""
    work = folder("build", build.module.replace("/", "_"))
    (work / "go.mod").write_text(wrapper_module(build))
    output = work / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    if len(build.programs) == 1:  # a package's path does not always end with the program's name
        (target,) = [output / name for name in build.programs]
    else:
        target = output
    run(
        *golang.command(), "build", "-mod=mod", "-trimpath", "-ldflags", build.link_flags, "-o", f"{target}{'/' * target.is_dir()}",
        *build.programs.values(),
        cwd=work, env=GO_ENVIRONMENT, timeout_s=GO_TIMEOUT_S,
    )  # fmt: skip
    for name in build.programs:
        (output / name).replace(binary(name))
        write_atomically(mark_file(name), build.mark)


def wrapper_module(build: GoBuild) -> str:
    """Return the go.mod of a module that only requires what we build."""
    lines = [
        "module soloist.test/build",
        f"go {versions.GO_DIRECTIVE}",
        f"require {build.module} {build.version}",
    ]
    if build.fork:
        lines.append(f"replace {build.module} => {build.fork} {build.version}")
    if build.staging:
        published = f"v0.{build.version.removeprefix('v1.')}"
        text = (source(build) / "go.mod").read_text()
        prefix = re.escape(build.staging)
        replaced = re.findall(rf"({prefix}\S+) => \./staging", text)
        required = re.findall(rf"^\t({prefix}\S+) v0\.0\.0$", text, re.MULTILINE)
        lines += [f"replace {module} => {module} {published}" for module in replaced]
        lines += [f"require {module} {published}" for module in required]
    return "\n".join(lines) + "\n"


def mark_file(name: str) -> Path:
    """Return the file that says what made the program `name`."""
    return folder("bin") / f".{name}.mark"


def mark(name: str) -> str:
    """Return the mark of an installed program, empty when there is none."""
    return mark_file(name).read_text() if mark_file(name).exists() else ""
