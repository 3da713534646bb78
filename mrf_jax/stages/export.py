"""The export stage: a bundle as one StableHLO file that runs without us."""

import pathlib
from typing import Any

from mrf_jax.errors import UserError, reason
from mrf_jax.inference.bundle import load_model
from mrf_jax.inference.export import PLATFORMS, export_model
from mrf_jax.io.atomic import replacing


def export_files(options: dict[str, Any]) -> pathlib.Path:
  """Writes a bundle as a StableHLO file.

  Args:
    options: values of the flags of `--mode=export` by name, None where not
      given; see `flags.py`.

  Returns:
    The file.

  Raises:
    UserError: there is no sound bundle, or the file cannot be written.
  """
  for name in ("model", "output"):
    if not options[name]:
      raise UserError(f"--{name} is missing")
  if len(options["model"]) > 1:
    raise UserError("--model: several bundles; one is exported at a time")
  output = pathlib.Path(options["output"])
  if output.suffix != ".stablehlo":
    raise UserError(
      f"--output: {output} is no name of an exported model (….stablehlo)"
    )
  model = load_model(options["model"][0])
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
