import jax
import jax.numpy as jnp
import pytest

from mrf_jax.errors import UserError
from mrf_jax.runtime.precision import (
  PRECISIONS,
  check_precision,
  multiplies_exactly,
)


@pytest.mark.parametrize("name", PRECISIONS)
def test_known_precisions_pass(name):
  check_precision(name)


def test_unknown_precision_is_refused():
  with pytest.raises(UserError, match="'float16' is not one of float32, tf32"):
    check_precision("float16")


def test_only_an_accelerator_rounds_float32(monkeypatch):
  assert multiplies_exactly(jnp.float32)
  assert not multiplies_exactly(jnp.bfloat16)
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  with jax.default_matmul_precision("tensorfloat32"):
    assert not multiplies_exactly(jnp.float32)
  with jax.default_matmul_precision("highest"):
    assert multiplies_exactly(jnp.float32)
