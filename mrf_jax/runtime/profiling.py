"""A trace of what the devices do, for those who ask for one."""

import contextlib
import pathlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def profiled(workdir) -> Iterator[None]:
  """Traces the block to `WORKDIR/profile`.

  TensorBoard's profile plugin opens the folder; Perfetto (ui.perfetto.dev)
  opens its `perfetto_trace.json.gz`. Python's own calls are not traced: they
  would fill the trace before the first product.

  Args:
    workdir: the folder of all results; None traces nothing.
  """
  if workdir is None:
    yield
    return
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0
  folder = pathlib.Path(workdir) / "profile"
  with jax.profiler.trace(
    folder, create_perfetto_trace=True, profiler_options=options
  ):
    yield
