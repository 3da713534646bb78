"""Folders of named arrays, written by orbax; `load_arrays` reads them.

Apart from `arrays`, because orbax takes long to be imported.
"""

import contextlib
import dataclasses
import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from mrf_jax.io.arrays import FILE, load_arrays


def save_arrays(path: pathlib.Path, arrays: dict[str, np.ndarray]) -> None:
  """Writes named arrays of the host to a new folder of this process.

  Raises:
    Exception: what orbax and the disk raise.
  """
  with _quiet(), _checkpointer() as checkpointer:
    checkpointer.save(path.absolute(), args=_NamedArrays(arrays))


@contextlib.contextmanager
def _quiet():
  """Silences orbax, which logs the errors that it raises as well."""
  before = logging.get_verbosity()
  logging.set_verbosity(logging.FATAL)
  try:
    yield
  finally:
    logging.set_verbosity(before)


class _NamedArraysHandler(ocp.CheckpointHandler):
  """Handler for arrays of this process alone.

  Orbax's own handlers write global arrays by all processes together, or host
  arrays by process 0; here every process has folds of its own.
  """

  def save(self, directory, args: "_NamedArrays"):
    with open(directory / FILE, "wb") as file:
      # A zip archive, whose members have checksums.
      np.savez(file, **args.arrays)  # type: ignore[arg-type]

  def restore(self, directory, args: "_NamedArrays"):
    del args
    return load_arrays(pathlib.Path(directory))


@ocp.args.register_with_handler(
  _NamedArraysHandler, for_save=True, for_restore=True
)
@dataclasses.dataclass
class _NamedArrays(ocp.args.CheckpointArgs):
  """The arrays that the handler writes; none when it reads."""

  arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def _checkpointer() -> ocp.Checkpointer:
  """A checkpointer that waits for no other process."""
  own = jax.process_index()
  options = ocp.options.MultiprocessingOptions(
    primary_host=own,
    active_processes={own},
    barrier_sync_key_prefix=f"process-{own}",
  )
  return ocp.Checkpointer(
    _NamedArraysHandler(), multiprocessing_options=options
  )
