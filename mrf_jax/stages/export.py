"""The export stage: writes a bundle as a StableHLO file that needs only JAX."""

import pathlib
from collections.abc import Mapping
from typing import Any

from mrf_jax.errors import UserError, reason
from mrf_jax.inference.bundle import load_model
from mrf_jax.inference.export import PLATFORMS, export_model
from mrf_jax.io.atomic import replacing
from mrf_jax.stages.flags import require, single_model


def export_files(options: Mapping[str, Any]) -> pathlib.Path:
  """Writes the bundle of --model as a StableHLO file, and returns its path.

  Raises:
    UserError: the bundle is missing or damaged, or the file cannot be written.
  """
  bundle = single_model(options)
  require(options, "output")
  output = pathlib.Path(options["output"])
  if output.suffix != ".stablehlo":
    raise UserError(f"--output: {output} does not end in .stablehlo")
  model = load_model(bundle)
  content = export_model(model)
  try:
    with replacing(output) as path:
      path.write_bytes(content)
  except OSError as error:
    raise UserError(f"{output}: cannot be written ({reason(error)})") from error
  n_windows = model.acquisition.n_windows
  print(
    f"Takes        signals complex64 [slice, y, x, {n_windows}], mask bool "
    "[slice, y, x]"
  )
  print(f"Runs on      {', '.join(PLATFORMS)}, with jax and flatbuffers alone")
  print(f"Exported     {output} ({len(content) / 2**20:.1f} MiB)")
  return output
