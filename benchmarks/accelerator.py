"""How much of an accelerator does each part of this package reach?

  python benchmarks/accelerator.py  # under nine minutes on a GPU of any size
  python benchmarks/accelerator.py --small  # tiny sizes, to try it on a CPU
  python benchmarks/accelerator.py --write_docs  # also into docs/training.md

Simulates a scan of the paper's size (16 x 256 x 256, T = 673), without k-space,
and times on it:

  products      bare matrix products and copies, of which the others are shares
  train         a step of the paper's network in six folds, which `vmap` makes
                one on each device, by `pmap` and by its twin `shard_map`
  infer         reconstruction of the whole scan by each network, from signals
                on the host to maps on the host
  match         the dictionary: simulation, full, SVD and group matching
  off_grid      matching off the grid
  dictionary    a million atoms by interpolation, and a part of them simulated
  epg           extended phase graphs of 32 states and 500 frames
  transfer      the scan's signals to the device

FLOP and bytes are counted, not measured: products, and least input and output.
The first run compiles, often in several threads, whose seconds are added. Peak
memory is that of the device since the process of the part began, of a CPU that
of the process without its inputs.

Each part has a process of its own. If one dies, or the device's memory is too
small, its line says so and the others stay. When the minutes are over, the rest
is left out.

Writes TARGET.md and TARGET.json; `--write_docs` writes docs/accelerator.json,
and the table into docs/training.md.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from mrf_jax.evaluation.markdown import between_marks, markdown_table
from mrf_jax.io.atomic import write_text

_ROOT = pathlib.Path(__file__).parent.parent
_SMALL = flags.DEFINE_boolean("small", False, "Tiny sizes.")
_MINUTES = flags.DEFINE_float("minutes", 8.5, "Most minutes of all parts.")
_WARM_S = flags.DEFINE_float("warm_s", 1.5, "Seconds of a line's warm runs.")
_TARGET = flags.DEFINE_string("target", "runs/accelerator", "Files to write.")
_PARTS = flags.DEFINE_list("parts", None, "Parts to run; all if not given.")
_DOCS = flags.DEFINE_boolean("write_docs", False, "Whether to write docs/.")
_FOLDER = flags.DEFINE_string("folder", None, "Used by the command itself.")

MARK = "accelerator"
_HEAD = (
  *("what", "precision", "s", "spread", "first run, s", "compiling, s"),
  *("a second", "GFLOP/s", "of products", "GB/s", "of copies", "peak MiB"),
)
# What a library says of memory that is not there.
_TOO_LARGE = ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory")


def run_part(command: list[str], path: pathlib.Path, seconds: float) -> dict:
  """Runs a command that adds lines of JSON to a file.

  Returns:
    `rows`, what it wrote, and `failed`, why there are no more; or None.
  """
  failed = None
  try:
    done = subprocess.run(
      command,
      cwd=_ROOT,
      env={**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"},
      stdin=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
      errors="replace",
      timeout=seconds,
      check=False,
    )
    if done.returncode:
      failed = _reason(done.returncode, done.stderr)
  except subprocess.TimeoutExpired:
    failed = "no time was left"
  lines = path.read_text().splitlines() if path.exists() else []
  # A process that dies may leave half a line.
  rows = [json.loads(line) for line in lines if line.endswith("}")]
  return {"rows": rows, "failed": failed}


def _reason(status: int, errors: str) -> str:
  """Why a process failed, in a few words."""
  if any(words in errors for words in _TOO_LARGE):
    return "does not fit into the device's memory"
  if status < 0:
    return f"was ended by signal {-status}"
  last = (errors.strip() or "no message").splitlines()[-1]
  return f"failed: {last[:160]}"


def run_all(parts: list[str], folder: pathlib.Path) -> dict[str, dict]:
  """Results of the parts, one after another, as long as there is time."""
  deadline = time.monotonic() + 60 * _MINUTES.value
  results = {}
  for part in parts:
    left = deadline - time.monotonic()
    if left < 1:
      results[part] = {"rows": [], "failed": "no time was left"}
      continue
    print(f"{part} ...", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, f"--parts={part}"]
    command += [f"--folder={folder}", f"--warm_s={_WARM_S.value}"]
    command += ["--small"] if _SMALL.value else []
    results[part] = run_part(command, folder / f"{part}.jsonl", left)
  return results


def table(content: dict) -> str:
  """Table of all results in Markdown, with its heading."""
  body = []
  for part, result in content["parts"].items():
    body += [_cells(row) for row in result["rows"]]
    if result["failed"]:
      body.append([part, result["failed"], *[""] * (len(_HEAD) - 2)])
  machine = content["machine"]
  return "\n\n".join(
    [
      f"`{content['command']}`, commit {content['commit']}, "
      f"{machine.get('n_devices', '?')} × {machine.get('device', 'no device')} "
      f"({machine.get('platform', '')}), jax {machine.get('jax', '?')}, Python "
      f"{machine.get('python', '?')}: {content['minutes']:.1f} minutes; "
      f"{machine.get('scan', 'no scan')}",
      markdown_table(_HEAD, body),
    ]
  )


def _cells(row: dict) -> list[str]:
  """Cells of a line; what is not known stays empty."""

  def number(value, digits=3):
    return "" if value is None else f"{value:,.{digits}g}"

  def whole(value):
    return "" if value is None else f"{value:,.0f}"

  def share(value):
    return "" if value is None else f"{value:.0%}"

  seconds = row["seconds"]
  rate = row["count"] and f"{row['count'] / seconds:,.0f} {row['unit']}"
  return [
    row["label"],
    row["precision"],
    number(seconds),
    share(row["spread"]),
    number(row["cold_s"]),
    number(row["compile_s"]),
    rate or "",
    whole(row["gflop"] and row["gflop"] / seconds),
    share(row["product_share"]),
    number(row["gbyte"] and row["gbyte"] / seconds),
    share(row["copy_share"]),
    whole(row["peak_mib"]),
  ]


def write(content: dict) -> None:
  """Writes table and record, and with `--write_docs` into the documents."""
  text = table(content)
  record = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
  target = pathlib.Path(_TARGET.value)
  target.parent.mkdir(parents=True, exist_ok=True)
  write_text(text + "\n", target.with_suffix(".md"))
  write_text(record, target.with_suffix(".json"))
  if _DOCS.value:
    page = _ROOT / "docs" / "training.md"
    write_text(between_marks(page.read_text(), MARK, text), page)
    write_text(record, _ROOT / "docs" / "accelerator.json")
  print(text)


def main(argv):
  """Runs one part, or all and their table."""
  del argv
  import accelerator_parts

  if _FOLDER.value is not None:
    (part,) = _PARTS.value
    accelerator_parts.run(
      part,
      pathlib.Path(_FOLDER.value),
      seconds=_WARM_S.value,
      is_small=_SMALL.value,
    )
    return
  if _SMALL.value and _DOCS.value:
    sys.exit("error: --write_docs: documents have no results of --small")
  known = accelerator_parts.PARTS
  unknown = set(_PARTS.value or []) - set(known)
  if unknown:
    sys.exit(
      f"error: --parts: {', '.join(sorted(unknown))} is unknown; known are "
      f"{', '.join(known)}"
    )
  # Those that the others read come first.
  asked = [*accelerator_parts.FIRST, *(_PARTS.value or known)]
  start = time.monotonic()
  from mrf_jax.workdir.environment import git_commit

  # Asked before the documents change and make the tree dirty.
  commit = git_commit()
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    results = run_all(list(dict.fromkeys(asked)), folder)
    machine = folder / "machine.json"
    content = {
      "command": "python benchmarks/accelerator.py"
      + (" --small" if _SMALL.value else ""),
      "commit": commit,
      "machine": json.loads(machine.read_text()) if machine.exists() else {},
      "minutes": (time.monotonic() - start) / 60,
      "parts": results,
    }
  write(content)
  if not any(result["rows"] for result in results.values()):
    sys.exit("error: no part has finished")


if __name__ == "__main__":
  app.run(main)
