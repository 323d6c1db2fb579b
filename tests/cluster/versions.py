"""Every version that the test cluster and the images pin, and nothing else.

A changed value rebuilds exactly what depends on it: binaries carry a mark made from their recipe, images a tag
made from their content.
"""

KUBERNETES = "1.36.3"
KIND = "v0.33.0"
HELM = "v3.22.0"
KUBECONFORM = "v0.8.0"

# Read only where the public node image cannot be pulled and the project builds its own.
ETCD = "v3.6.8"
CONTAINERD = "v2.4.2"
COREDNS = "v1.14.2"
KUBE_ROUTER = "v2.2.1"
LOCAL_PATH_PROVISIONER = "v0.0.30"
GO_DIRECTIVE = "1.26.0"

DEBIAN_SUITE = "bookworm"
# The interpreter of both images: Debian bookworm's own, and the same minor release of the public image.
PYTHON = "3.11"

PUBLIC_NODE_IMAGE = f"kindest/node:v{KUBERNETES}"
PUBLIC_PYTHON_IMAGE = f"python:{PYTHON}-slim-{DEBIAN_SUITE}"
