"""Array type that covers NumPy arrays (host) and JAX arrays (device)."""

import jax
import numpy as np

AnyArray = jax.Array | np.ndarray
