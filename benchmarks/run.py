"""Runs the benchmarks and writes their results into the documents.

  pip install -r benchmarks/requirements.txt
  python benchmarks/run.py  # half an hour on two idle cores
  python benchmarks/run.py --scripts=match  # one script, keeping the others
  python benchmarks/run.py --scripts= --timing=WORKDIR  # of --mode=benchmark

Writes `docs/benchmarks.md`, the table of speeds in `docs/speed.md` and some of
its rows in README.md. The output of each script is kept in
`docs/benchmarks.json` with its commit and versions, so that each script can be
run again alone. `--timing` adds table and figure of a workdir of
`--mode=benchmark`.
"""

import json
import pathlib
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata

from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from mrf_jax.evaluation.markdown import between_marks
from mrf_jax.io.atomic import replacing
from mrf_jax.methods import METHODS
from mrf_jax.timing.tables import conclusions, format_benchmark, load_benchmark
from mrf_jax.workdir.environment import git_commit

_ROOT = pathlib.Path(__file__).parent.parent
_ALL = (
  "match",
  "off_grid",
  "infer",
  "train",
  "simulate",
  "scan",
  "raw",
  "dictionary",
  "reconstruct",
)
_SCRIPTS = flags.DEFINE_list("scripts", list(_ALL), "Scripts to run.")
_TIMING = flags.DEFINE_string("timing", None, "Workdir of --mode=benchmark.")

_RECORD = _ROOT / "docs" / "benchmarks.json"
_PACKAGES = ("jax", "numpy", "torch", "mrpro", "blochsim", "torchsim")
# Begin and end of the questions in README.md, those of equal work.
_README_ROWS = (
  ("full matching", "beside mrpro"),
  ("spatiotemporal network", "beside PyTorch"),
  ("training step, patches", "beside torch eager, linear, T = 673"),
  ("EPG of 500 frames, dictionary to 0.0001", "beside torchsim"),
  ("dictionary of ", "interpolated, beside before, cd40de9"),
  ("16 x 256 x 256 from file", "by spatiotemporal, beside SVD 25 matching"),
)


def run_script(name: str, commit: str | None) -> dict:
  """Runs one script; returns its output, commit and versions."""
  command = [sys.executable, str(_ROOT / "benchmarks" / f"{name}.py")]
  print(f"{name} ...", file=sys.stderr, flush=True)
  done = subprocess.run(
    command, cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=False
  )
  if done.returncode:
    sys.exit(
      f"error: benchmarks/{name}.py failed with status {done.returncode}"
    )
  lines = done.stdout.rstrip().splitlines()
  ratios = [json.loads(line) for line in lines if line.startswith("{")]
  return {
    "text": "\n".join(x for x in lines if not x.startswith("{")).strip(),
    "ratios": ratios,
    "commit": commit,
    "python": platform.python_version(),
    "versions": _versions(),
  }


def read_timing(workdir: pathlib.Path) -> dict:
  """Reads table and sentences of a workdir of `--mode=benchmark`."""
  content = load_benchmark(workdir / "benchmark.json")
  # Names no folder of this machine in the documents.
  content["command"] = re.sub(
    r"--workdir=\S+", "--workdir=runs/timing", content["command"]
  )
  with replacing(_ROOT / "docs" / "timing.png") as path:
    path.write_bytes((workdir / "timing.png").read_bytes())
  _, *table = format_benchmark(content).splitlines()
  return {"text": "\n".join(table).strip(), "says": conclusions(content)}


def _versions() -> dict[str, str]:
  """Versions of the installed packages."""
  versions = {}
  for package in _PACKAGES:
    try:
      versions[package] = metadata.version(package)
    except metadata.PackageNotFoundError:
      continue
  return versions


def ratio_table(
  record: dict, rows: Sequence[tuple[str, str]] = (("", ""),)
) -> list[str]:
  """Table of the last lines of all scripts.

  Args:
    record: content of `docs/benchmarks.json`.
    rows: begin and end of the questions to show; the default shows all.
  """
  lines = [
    "| question | ours | peer | unit | ratio |",
    "| :-- | --: | --: | :-- | --: |",
  ]
  for name in _ALL:
    for line in record.get(name, {}).get("ratios", []):
      question = line["question"]
      if not any(
        question.startswith(begin) and question.endswith(end)
        for begin, end in rows
      ):
        continue
      peer, ratio = line["peer"], line["ratio"]
      lines.append(
        f"| {question} | {line['ours']:,.6g} "
        f"| {'' if peer is None else f'{peer:,.6g}'} | {line['unit']} "
        f"| {'' if ratio is None else f'**{ratio}**'} |"
      )
  return lines


def not_timed(record: dict) -> list[str]:
  """Sentence on the methods missing in the table of stages, if any."""
  text = record["timing"]["text"]
  missing = [name for name in METHODS if f"| {name} |" not in text]
  if not missing:
    return []
  return [
    f"Not timed yet in the table of stages: {', '.join(missing)}.",
    "",
  ]


def benchmarks_page(record: dict) -> str:
  """Text of `docs/benchmarks.md`.

  Args:
    record: content of `docs/benchmarks.json`.
  """
  lines = [
    "# Benchmarks",
    "",
    "Written by `python benchmarks/run.py`, not by hand. Each script asks one "
    "question and takes turns with its peers in one run; a ratio above one is "
    "better.",
    "",
    *ratio_table(record),
  ]
  for name in _ALL:
    if name in record:
      output = record[name]
      lines += ["", f"## {name}", "", _origin(name, output), "", output["text"]]
  if "timing" in record:
    lines += ["", "## Every stage on one scan", "", record["timing"]["text"]]
    lines += ["", *not_timed(record)]
    lines += ["![Seconds of a scan over the atoms](timing.png)"]
  return "\n".join(lines) + "\n"


def readme_with_speeds(readme: str, record: dict) -> str:
  """Text of README.md with some rows of the table of speeds and their origin.

  Args:
    readme: text of README.md.
    record: content of `docs/benchmarks.json`.
  """
  parts = [ratio_table(record, rows=_README_ROWS), [f"({_origins(record)})"]]
  return _with_paragraphs(readme, parts)


def page_with_speeds(page: str, record: dict) -> str:
  """Text of `docs/speed.md` with the table of speeds between its two marks.

  Args:
    page: text of `docs/speed.md`.
    record: content of `docs/benchmarks.json`.
  """
  parts = [ratio_table(record), [f"({_origins(record)})"]]
  # The paper's network and ours alone; benchmarks.md has all.
  sentences = [
    line
    for line in record.get("timing", {}).get("says", [])
    if line.startswith("- spatiotemporal")
  ]
  if sentences:
    parts += [["A whole simulated scan, warm (`--mode=benchmark`):"], sentences]
    parts += [not_timed(record)]
  return _with_paragraphs(page, parts)


def _with_paragraphs(text: str, parts: list[list[str]]) -> str:
  """Text with paragraphs, each of some lines, between its two marks."""
  body = "\n\n".join("\n".join(lines).strip() for lines in parts if lines)
  return between_marks(text, "benchmarks", body)


def _origins(record: dict) -> str:
  """Commits, machines and Pythons of the table of speeds."""
  origins = {
    (output["commit"], output["python"], line["device"])
    for output in record.values()
    for line in output.get("ratios", [])
  }
  return "; ".join(
    f"commit {commit[:12]}, {device}, Python {python}"
    for commit, python, device in sorted(origins)
  )


def write_documents(record: dict) -> None:
  """Writes all documents."""
  with replacing(_ROOT / "docs" / "benchmarks.md") as path:
    path.write_text(benchmarks_page(record))
  for name, with_speeds in (
    ("README.md", readme_with_speeds),
    ("docs/speed.md", page_with_speeds),
  ):
    text = with_speeds((_ROOT / name).read_text(), record)
    with replacing(_ROOT / name) as path:
      path.write_text(text)


def _origin(name: str, output: dict) -> str:
  """Sentence on command, commit and versions of a script's output."""
  versions = ", ".join(f"{k} {v}" for k, v in output["versions"].items())
  return (
    f"`python benchmarks/{name}.py`, commit {output['commit']}, Python "
    f"{output['python']}, {versions}."
  )


def main(argv):
  """Runs the scripts and writes record and documents."""
  del argv
  scripts = [name for name in _SCRIPTS.value if name]
  unknown = set(scripts) - set(_ALL)
  if unknown:
    sys.exit(
      f"error: --scripts: {', '.join(sorted(unknown))} is unknown; known are "
      f"{', '.join(_ALL)}"
    )
  record = json.loads(_RECORD.read_text()) if _RECORD.exists() else {}
  # Asked before the documents change and make the tree dirty.
  commit = git_commit()
  for name in scripts:
    record[name] = run_script(name, commit)
    save_record(record)
  if _TIMING.value:
    record["timing"] = read_timing(pathlib.Path(_TIMING.value))
    save_record(record)
  write_documents(record)


def save_record(record: dict) -> None:
  """Writes `docs/benchmarks.json`."""
  with replacing(_RECORD) as path:
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
  app.run(main)
