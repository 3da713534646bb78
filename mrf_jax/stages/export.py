"""The export stage: writes a bundle as a StableHLO file that needs only JAX."""

import pathlib
from collections.abc import Mapping
from typing import Any

import jax

from mrf_jax.command_line.inputs import (
  check_inputs,
  export_shape,
  single_model,
)
from mrf_jax.errors import UserError, reason
from mrf_jax.inference.bundle import load_model
from mrf_jax.inference.export import LOWEST_JAX, PLATFORMS, export_model
from mrf_jax.io.atomic import replacing
from mrf_jax.networks.channels import sees_b1


def export_files(options: Mapping[str, Any]) -> pathlib.Path:
  """Writes the bundle of --model as a StableHLO file, and returns its path.

  Raises:
    UserError: the bundle is missing or damaged, a flag is not valid, or the
      file cannot be written.
  """
  check_inputs("export", options)
  output = pathlib.Path(options["output"])
  shape = export_shape(options["export_shape"])
  model = load_model(single_model(options))
  content = export_model(model, shape=shape)
  try:
    with replacing(output) as path:
      path.write_bytes(content)
  except OSError as error:
    raise UserError(f"{output}: cannot be written ({reason(error)})") from error
  n_windows = model.acquisition.n_windows
  sizes = "slice, y, x" if shape is None else ", ".join(map(str, shape))
  b1 = f", b1 float32 [{sizes}]" if sees_b1(model.network) else ""
  print(
    f"Takes        signals complex64 [{sizes}, {n_windows}], mask bool "
    f"[{sizes}]{b1}"
  )
  print(f"Runs on      {', '.join(PLATFORMS)}, with jax and flatbuffers alone")
  if shape is None:
    print(
      f"Needs        jax {jax.__version__} or newer; an older one, from "
      f"{LOWEST_JAX} on, runs the file of --export_shape=SLICES,Y,X"
    )
  else:
    print(f"Needs        jax {LOWEST_JAX} or newer")
  print(f"Exported     {output} ({len(content) / 2**20:.1f} MiB)")
  return output
