"""Networks: one file for each Flax module, with its default options."""

from mrf_jax.networks.cohen import Cohen
from mrf_jax.networks.hoppe import Hoppe
from mrf_jax.networks.spatiotemporal import Spatiotemporal
from mrf_jax.networks.spatiotemporal_plus import SpatiotemporalPlus

# Method name to Flax module. Its `reach` and `slices` are the size of its
# patches.
NETWORKS = {
  "spatiotemporal": Spatiotemporal,
  "spatiotemporal_plus": SpatiotemporalPlus,
  "cohen": Cohen,
  "hoppe": Hoppe,
}
