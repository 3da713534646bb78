"""The networks, one Flax module and its defaults a file."""

from mrf_jax.models import cohen, hoppe, spatiotemporal

# Method name to its Flax module and the reach of its patches.
NETWORKS = {
  "spatiotemporal": (spatiotemporal.Spatiotemporal, spatiotemporal.REACH),
  "cohen": (cohen.Cohen, cohen.REACH),
  "hoppe": (hoppe.Hoppe, hoppe.REACH),
}
