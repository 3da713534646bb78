"""The checks of shapes are on, and accept either kind of array."""

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from mrf_jax.networks.layers import product
from mrf_jax.sequence.sliding_window import sliding_window


def test_other_shapes_are_errors():
  with pytest.raises(jaxtyping.TypeCheckError, match="frames"):
    sliding_window(np.zeros(()), window=1)
  with pytest.raises(jaxtyping.TypeCheckError, match="kernel"):
    product(jnp.zeros((2, 3)), jnp.zeros((4, 5)))


def test_arrays_of_either_kind():
  np.testing.assert_array_equal(product(np.eye(2), jnp.eye(2)), np.eye(2))
