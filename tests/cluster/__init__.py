"""The test cluster: kind on any machine, with or without an image registry.

from tests.cluster import Progress, down, ensure_up, images
cluster = ensure_up("soloist-demo", Progress())
images.load(cluster, images.ensure_images(Progress()), Progress())
"""

from tests.cluster.access import Cluster, find
from tests.cluster.cluster import down, ensure_up
from tests.cluster.errors import ClusterError
from tests.cluster.progress import Progress

__all__ = ["Cluster", "ClusterError", "Progress", "down", "ensure_up", "find"]
