"""The networks, one Flax module and its defaults a file."""

from mrf_jax.networks.cohen import Cohen
from mrf_jax.networks.hoppe import Hoppe
from mrf_jax.networks.spatiotemporal import Spatiotemporal
from mrf_jax.networks.spatiotemporal_plus import SpatiotemporalPlus

# Method name to its Flax module, whose `reach` and `slices` are those of its
# patches.
NETWORKS = {
  "spatiotemporal": Spatiotemporal,
  "spatiotemporal_plus": SpatiotemporalPlus,
  "cohen": Cohen,
  "hoppe": Hoppe,
}
