"""Errors of subjects, and cells of tables."""

from mrf_jax.maps import MAP_NAMES

NAN = float("nan")


def subject_errors(tissue, mae, rmse):
  """MAE and RMSE of a subject, the same in all maps."""
  return {(tissue, name): (mae, rmse) for name in MAP_NAMES}


def cells(markdown, tissue, method):
  """The numbers of one line of a table."""
  for line in markdown.splitlines():
    found = [cell.strip() for cell in line.strip("|").split("|")]
    if found[:2] == [tissue, method]:
      return found[2:]
  raise AssertionError(f"no line {tissue} {method}")
