"""Profile of the devices, written on request."""

import contextlib
import pathlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def profiled(workdir) -> Iterator[None]:
  """Profiles the block and writes the trace to `WORKDIR/profile`, if not None.

  TensorBoard's profile plugin opens the folder; Perfetto (ui.perfetto.dev)
  opens its `perfetto_trace.json.gz`.
  """
  if workdir is None:
    yield
    return
  options = jax.profiler.ProfileOptions()
  # Calls of Python functions would fill the trace before the first product.
  options.python_tracer_level = 0
  folder = pathlib.Path(workdir) / "profile"
  with jax.profiler.trace(
    folder, create_perfetto_trace=True, profiler_options=options
  ):
    yield
