"""The timing comparison in words and tables, of one machine or of several."""

import json
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from mrf_jax.errors import UserError, one_line

FORMAT = "mrf-benchmark"
# What dictionary matching is compared by, and its lines in the figure.
MATCHING = {
  ("dictionary", "reconstruct"): "full matching",
  ("dictionary_svd", "reconstruct"): "SVD matching",
  ("dictionary_svd", "reconstruct_groups"): "SVD matching in groups",
}
# The dictionary of the sentence that the field quotes.
_QUOTED_ATOMS = 100_000


def load_benchmark(path: str | os.PathLike) -> dict:
  """A `benchmark.json`.

  Args:
    path: the file.

  Raises:
    UserError: it is not there, or is something else.
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
  """The timing table of one machine in Markdown.

  Args:
    content: of a `benchmark.json`.
  """
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
    "Median of warm runs, with the distance of their quartiles beside it; the "
    "first run compiles. † timed on a part of the voxels and scaled up. "
    "‡ spread above 10 %: the machine was not quiet. GFLOP and GB are counted, "
    "not measured: the arithmetic of the products, and the least that goes in "
    "and comes out. Peak memory is beside the inputs; of an accelerator, the "
    "most that was in use since the start.",
    "",
    *conclusions(content),
  ]
  return "\n".join(lines) + "\n"


def conclusions(content: dict) -> list[str]:
  """What the times say about networks and dictionaries, one line each.

  Args:
    content: of a `benchmark.json`.
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
      quoted = _at(atoms, seconds, quoted_atoms)
      even = _break_even(atoms, seconds, network["seconds"])
      lines.append(
        f"- {network['method']} ({_seconds(network['seconds'])} s) beside "
        f"{name}: {_rounded(quoted / network['seconds'])} × as fast at "
        f"{quoted_atoms:,.0f} atoms; they break even at {even}."
      )
  return lines


def compare_benchmarks(paths: Sequence[str | os.PathLike]) -> str:
  """Rows of several machines in one Markdown table.

  Args:
    paths: `benchmark.json` files; the first is what others are related to.

  Raises:
    UserError: a file is not there, or is something else.
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
    "× [1]: speed relative to the first file, by voxels where a stage has any. "
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
  """What a row has in common with its counterpart on another machine."""
  atoms = row["atoms"] if row["method"].startswith("dictionary") else None
  return row["method"], row["stage"], atoms


def _heading(content: dict) -> list[str]:
  """Scan, machine and command."""
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
  """Atoms and seconds of one way to match."""
  return sorted(
    (r["atoms"], r["seconds"]) for r in rows if (r["method"], r["stage"]) == key
  )


def _at(x, y, wanted: float) -> float:
  """`y` at an `x` between the measured ones, on straight log-log lines."""
  return float(np.exp(np.interp(np.log(wanted), np.log(x), np.log(y))))


def _break_even(atoms, seconds, wanted: float) -> str:
  """Where matching takes as long, in words."""
  above = np.flatnonzero(seconds >= wanted)
  if not len(above):
    return f"more than {atoms[-1]:,.0f} atoms"
  if above[0] == 0:
    return f"fewer than {atoms[0]:,.0f} atoms"
  # Between the first that takes as long and the one before.
  there = slice(above[0] - 1, above[0] + 1)
  return f"about {_rounded(_at(seconds[there], atoms[there], wanted))} atoms"


def _rounded(value: float) -> str:
  """Two digits that count."""
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
