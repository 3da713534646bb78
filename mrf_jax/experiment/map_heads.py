"""Heads of `data.maps`: their checks before anything is simulated."""

import os
import pathlib

import ml_collections

from mrf_jax.dataset.subject import load_subject
from mrf_jax.errors import UserError
from mrf_jax.importing.map_folder import check_different_heads, read_head_maps
from mrf_jax.runtime import processes
from mrf_jax.simulation.anatomy import SliceGrid
from mrf_jax.simulation.map_phantom import check_in_slices


def check_heads(config: ml_collections.ConfigDict, root) -> bool:
  """Checks the maps that a configuration names, and those of a workdir.

  Nothing is checked that is not used: the subjects of another workdir, or maps
  that are gone after their head was simulated. Sentences on what is assumed
  are printed.

  Args:
    config: the configuration, after `with_files`.
    root: the workdir, which may not exist yet.

  Returns:
    Whether the workdir has all heads, of these maps.

  Raises:
    UserError: maps of a head that is to be simulated are not valid, not in the
      slices, or those of another head; or a head in the workdir was simulated
      from other maps.
  """
  folders = config.data.get("maps")
  if not folders or config.subjects_from is not None:
    return False
  grid = SliceGrid(**config.data.grid)
  digests: dict[str, str] = {}
  n_known = 0
  for number, folder in enumerate(folders):
    if folder in folders[:number]:
      raise UserError(f"{folder}: is named twice; name each head once")
  for number, folder in enumerate(folders):
    path = pathlib.Path(root) / "data" / f"subject-{number:02d}.h5"
    is_there = path.exists()
    if is_there and not os.path.isdir(folder):
      continue
    maps = read_head_maps(folder)
    digests[folder] = maps.digest
    if is_there:
      subject = load_subject(path, with_signals=False)
      if subject.is_simulated and maps.digest not in subject.provenance:
        raise UserError(
          f"{folder}: are not the maps that {path} was simulated from; put "
          "them back or choose another --workdir"
        )
      n_known += 1
      continue
    for sentence in (*maps.notes, *check_in_slices(maps, grid)):
      processes.say(f"- {sentence}")
  check_different_heads(digests)
  return n_known == len(folders)
