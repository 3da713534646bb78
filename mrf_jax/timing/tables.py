"""Tables and sentences of the timing comparison, for one machine or several."""

import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from mrf_jax.errors import UserError, one_line

FORMAT = "mrf-benchmark"
# Method and stage of each form of dictionary matching, with its label.
MATCHING = {
  ("dictionary", "reconstruct"): "full matching",
  ("dictionary_svd", "reconstruct"): "SVD matching",
  ("dictionary_svd", "reconstruct_groups"): "SVD matching in groups",
}
# Atoms of the dictionary in the sentence on speed, a usual size in the field.
_QUOTED_ATOMS = 100_000


def load_benchmark(path: str | os.PathLike) -> dict:
  """Reads a `benchmark.json`.

  Raises:
    UserError: the file cannot be read, or is not a `benchmark.json`.
  """
  try:
    content = json.loads(pathlib.Path(path).read_text())
  except OSError as error:
    raise UserError(f"{path}: {error.strerror}") from error
  except ValueError as error:
    raise UserError(f"{path}: not JSON ({one_line(error)})") from error
  if not isinstance(content, dict) or content.get("format") != FORMAT:
    raise UserError(f"{path}: is not the benchmark.json of --mode=benchmark")
  return content


def format_benchmark(content: dict) -> str:
  """Timing table of one machine in Markdown, from a `benchmark.json`."""
  lines = [
    "# Timing comparison on a simulated scan",
    "",
    *_heading(content),
    "",
    "| method | stage | atoms | seconds | spread | first run (s) | voxels/s "
    "| GFLOP | GB | of products | of copies | peak MiB |",
    "| :-- | :-- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |",
  ]
  for row in content["rows"]:
    part = row["timed_voxels"] != row["voxels"]
    cells = [
      row["method"],
      row["stage"],
      _count(row["atoms"]),
      _seconds(row["seconds"]) + ("†" if part else ""),
      f"{row['spread']:.1%}" + (" ‡" if row["noisy"] else ""),
      _seconds(row["cold_s"]),
      _count(row["voxels_per_s"]),
      _number(row["gflop"]),
      _number(row["gbyte"]),
      _percent(row["product_share"]),
      _percent(row["copy_share"]),
      f"{row['peak_mib']:.0f}",
    ]
    lines.append("| " + " | ".join(cells) + " |")
  lines += [
    "",
    "Seconds: median of the warm runs; spread: their interquartile range, "
    "relative to the median. The first run compiles. † timed on a part of the "
    "voxels and scaled up. ‡ spread above 10 %: other programs used the "
    "machine. GFLOP and GB are counted, not measured: operations of the "
    "products, and least input and output. Peak memory is without the inputs; "
    "on an accelerator, the peak since the start.",
    "",
    *conclusions(content),
  ]
  return "\n".join(lines) + "\n"


def conclusions(content: dict) -> list[str]:
  """Compares the time of each network with each form of matching.

  Returns:
    Lines of a Markdown list: the ratio at 100,000 atoms, or at the nearest
    measured size, and the number of atoms at which both take as long.
  """
  rows, lines = content["rows"], []
  networks = [
    r for r in rows if r["stage"] == "reconstruct" and r["atoms"] is None
  ]
  for network in networks:
    for key, name in MATCHING.items():
      points = _curve(rows, key)
      if len(points) < 2:
        continue
      atoms, seconds = np.array(points).T
      quoted_atoms = float(np.clip(_QUOTED_ATOMS, atoms[0], atoms[-1]))
      quoted = _interpolate(atoms, seconds, quoted_atoms)
      even = _break_even(atoms, seconds, network["seconds"])
      lines.append(
        f"- {network['method']} ({_seconds(network['seconds'])} s) compared "
        f"with {name}: {_rounded(quoted / network['seconds'])} × as fast at "
        f"{quoted_atoms:,.0f} atoms; they break even at {even}."
      )
  return lines


def compare_benchmarks(paths: Sequence[str | os.PathLike]) -> str:
  """Timing table of several machines in Markdown, relative to the first.

  Raises:
    UserError: a file cannot be read, or is not a `benchmark.json`.
  """
  contents = [load_benchmark(path) for path in paths]
  lines = ["# Timing comparison between machines", ""]
  for number, (path, content) in enumerate(zip(paths, contents, strict=True)):
    lines += [f"[{number + 1}] `{path}`", "", *_heading(content), ""]
  lines += [
    "| method | stage | atoms | | device | precision | jax | seconds | spread "
    "| voxels/s | × [1] |",
    "| :-- | :-- | --: | :-- | :-- | :-- | :-- | --: | --: | --: | --: |",
  ]
  first = {_key(row): row for row in contents[0]["rows"]}
  keys = {_key(row): row for content in contents for row in content["rows"]}
  for key in keys:
    for number, content in enumerate(contents):
      for row in content["rows"]:
        if _key(row) == key:
          cells = _comparison(row, first.get(key), number)
          lines.append("| " + " | ".join(cells) + " |")
  lines += [
    "",
    "× [1]: speed relative to the first file, per voxel if a stage has voxels. "
    "‡ spread above 10 %.",
  ]
  return "\n".join(lines) + "\n"


def _comparison(row: dict, first: dict | None, number: int) -> list[str]:
  """Cells of a row of one file."""
  ratio = None
  if first is not None:
    ratio = first["seconds"] / row["seconds"]
    if row["voxels"] and first["voxels"]:
      ratio *= row["voxels"] / first["voxels"]
  return [
    row["method"],
    row["stage"],
    _count(row["atoms"]),
    f"[{number + 1}]",
    row["device"],
    row["precision"],
    row["jax"],
    _seconds(row["seconds"]),
    f"{row['spread']:.1%}" + (" ‡" if row["noisy"] else ""),
    _count(row["voxels_per_s"]),
    _number(ratio),
  ]


def _key(row: dict) -> tuple:
  """Key of the same row on another machine."""
  atoms = row["atoms"] if row["method"].startswith("dictionary") else None
  return row["method"], row["stage"], atoms


def _heading(content: dict) -> list[str]:
  """Sentence on scan and machine, and the command."""
  scan, machine = content["scan"], content["machine"]
  versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
  return [
    f"Simulated scan of {scan['slices']} × {scan['matrix']} × {scan['matrix']} "
    f"voxels, {scan['voxels']:,} of them brain, {scan['windows']} windows "
    f"(T). {machine['device']}, {machine['cores']} cores, Python "
    f"{machine['python']}, {versions}, commit {machine['git_commit']}, "
    f"{content['precision']}; its matrix products run at "
    f"{content['rates']['products_gflop_per_s']:.0f} GFLOP/s, its copies at "
    f"{content['rates']['copies_gb_per_s']:.1f} GB/s.",
    "",
    f"    {content['command']}",
  ]


def _curve(rows, key) -> list[tuple[float, float]]:
  """Atoms and seconds of one form of matching, sorted."""
  return sorted(
    (r["atoms"], r["seconds"]) for r in rows if (r["method"], r["stage"]) == key
  )


def _interpolate(x, y, at: float) -> float:
  """`y` where `x` is `at`, linear between the points in log-log."""
  return float(np.exp(np.interp(np.log(at), np.log(x), np.log(y))))


def _break_even(atoms, seconds, limit: float) -> str:
  """Number of atoms for which matching takes `limit` seconds, as text."""
  above = np.flatnonzero(seconds >= limit)
  if not len(above):
    return f"more than {atoms[-1]:,.0f} atoms"
  if above[0] == 0:
    return f"fewer than {atoms[0]:,.0f} atoms"
  # Between the first size that takes longer and the size before it.
  ends = slice(above[0] - 1, above[0] + 1)
  even = _interpolate(seconds[ends], atoms[ends], limit)
  return f"about {_rounded(even)} atoms"


def _rounded(value: float) -> str:
  """Two significant digits."""
  return f"{float(f'{value:.2g}'):,.10g}"


def _seconds(value: float) -> str:
  return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _number(value: float | None) -> str:
  if value is None:
    return ""
  return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _count(value: float | None) -> str:
  return "" if value is None else f"{value:,.0f}"


def _percent(value: float | None) -> str:
  return "" if value is None else f"{value:.0%}"
