"""The names that `import mrf_jax` gives, and what the import costs."""

import mrf_jax
from tests.launcher import run_python


def test_every_public_name_exists():
  for name in mrf_jax.__all__:
    assert getattr(mrf_jax, name).__doc__, name


def test_import_is_cheap():
  """What is heavy is imported when it is used."""
  done = run_python(
    "import sys, mrf_jax; "
    "print([m for m in ('jax', 'numpy', 'flax') if m in sys.modules])"
  )
  assert done.stdout == "[]\n", done.stderr
