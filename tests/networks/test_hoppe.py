"""Network of Hoppe 2017: convolution, sizes, options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrf_jax.errors import UserError
from mrf_jax.networks.hoppe import Hoppe, TemporalConv
from tests.networks.examples import random_variables

SMALL = Hoppe(
  features=(4, 5, 6, 7),
  kernels=(5, 4, 3, 1),
  strides=(2, 1, 2, 1),
  dense=(8, 9),
)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize(("size", "length"), [(1, 9), (3, 20), (7, 25), (4, 4)])
def test_convolution_equals_that_of_lax(size, stride, length):
  rng = np.random.default_rng(0)
  x = rng.standard_normal((3, length, 2), np.float32)
  kernel = rng.standard_normal((size, 2, 5), np.float32)
  bias = jnp.arange(5.0)
  layer = TemporalConv(5, size, stride)
  actual = layer.apply({"params": {"kernel": kernel, "bias": bias}}, x)
  expected = jax.lax.conv_general_dilated(
    x, kernel, (stride,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
  )
  np.testing.assert_allclose(actual, expected + bias[None, None], atol=1e-5)


def test_lengths_are_those_of_the_paper():
  assert Hoppe().lengths(673) == [220, 106, 51, 49, 24]


def test_voxels_are_independent():
  x = jax.random.normal(jax.random.key(2), (2, 3, 4, 60))
  variables = random_variables(SMALL, n_channels=60)
  whole = SMALL.apply(variables, x, train=False)
  assert whole.shape == (2, 3, 4, 3)
  voxel = SMALL.apply(variables, x[1:, 2:, 3:], train=False)
  np.testing.assert_allclose(voxel[0, 0, 0], whole[1, 2, 3], atol=1e-5)


def test_real_part_is_the_first_channel():
  # A kernel of the first layer that picks one sample of the imaginary part.
  network = Hoppe((1,), (3,), (1,), pool=1, dense=(), output="linear")
  x = jnp.arange(10.0).reshape(1, 1, 1, 10)  # real 0…4, imaginary 5…9
  variables = network.init(jax.random.key(0), x, train=False)
  params = jax.tree.map(jnp.zeros_like, variables["params"])
  kernel = params["temporal_0"]["kernel"].at[2, 1, 0].set(1.0)
  params["temporal_0"]["kernel"] = kernel
  params["maps"]["kernel"] = jnp.eye(3)
  params["BatchNorm_0"] = variables["params"]["BatchNorm_0"]
  variables = {**variables, "params": params}
  actual = network.apply(variables, x, train=False)[0, 0, 0]
  np.testing.assert_allclose(actual, [7, 8, 9], rtol=1e-3)


@pytest.mark.parametrize(
  ("n_frames", "message"),
  [
    (3, "convolution 1 of 4 .kernel 5, stride 2. gets 3 samples"),
    (10, r"convolution 2 of 4 .kernel 4, stride 1. gets 3 .*strides \(2,\)"),
    (15, "convolution 3 of 4 .kernel 3, stride 2. gets 3|pooling"),
    (17, "pooling of 2 gets 1 samples"),
  ],
)
def test_too_short_fingerprints_name_the_layer(n_frames, message):
  with pytest.raises(UserError, match=message):
    SMALL.lengths(n_frames)


def test_options_must_fit():
  with pytest.raises(UserError, match="one value for each"):
    Hoppe(strides=(3, 2)).lengths(673)
  with pytest.raises(UserError, match="start at 1"):
    Hoppe(strides=(3, 2, 0, 1)).lengths(673)
