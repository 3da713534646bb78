"""Runs the demo and writes its tables and pictures into the documents.

python docs/run_demo.py

The tables of `runs/demo` are kept in docs/demo.json. They go between the marks
`demo` of README.md, which has the whole brain, and of docs/demo.md.
"""

import json
import pathlib
import resource
import shutil
import subprocess
import sys
import time

_ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(_ROOT))

from mrf_jax.io.atomic import replacing  # noqa: E402
from mrf_jax.timing.machine import device_name  # noqa: E402

_WORKDIR = "runs/demo"
_COMMAND = (
  "launch.py",
  "--config=configs/demo.py",
  f"--workdir={_WORKDIR}",
  # As on a machine where nothing has been compiled yet.
  "--compilation_cache=none",
)
_RECORD = _ROOT / "docs/demo.json"
_MARKS = "<!-- demo: {} -->", "<!-- /demo: {} -->"
_TABLES = {
  "errors": "table1.md",
  "true errors": "truth_table.md",
  "differences": "differences.md",
}
_DOCUMENTS = ("README.md", "docs/demo.md")
_BRAIN = "| brain "
_PICTURES = ("figure3.png", "learning_curves.png")


def run() -> dict:
  """Runs the demo; returns its time, its peak memory and the machine."""
  begin = time.monotonic()
  subprocess.run([sys.executable, *_COMMAND], cwd=_ROOT, check=True)
  seconds = time.monotonic() - begin
  peak_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
  return {
    "seconds": round(seconds),
    "peak_gib": round(peak_kib / 2**20, 1),
    "machine": device_name(),
  }


def with_demo(text: str, record: dict) -> str:
  """Text of a document with the demo's tables between the marks that it has.

  Args:
    text: text of README.md or docs/demo.md.
    record: content of `docs/demo.json`.
  """
  tables = record["tables"]
  parts = {name: "\n".join(tables[name]) for name in _TABLES}
  parts["origin"] = _origin(record)
  parts["brain"] = "\n".join(_without_tissue(tables["errors"]))
  for name, part in parts.items():
    begin, end = (mark.format(name) for mark in _MARKS)
    if begin not in text:
      continue
    before, rest = text.split(begin)
    _, after = rest.split(end)
    text = f"{before}{begin}\n{part}\n{end}{after}"
  return text


def _without_tissue(table: list[str]) -> list[str]:
  """Rows of the whole brain, without the column that says so."""
  head, rule, *rows = table
  rows = [row for row in rows if row.startswith(_BRAIN)]
  return ["|" + row.split("|", 2)[2] for row in (head, rule, *rows)]


def _origin(record: dict) -> str:
  """Sentence on commit, versions, machine, time and memory."""
  environment = record["environment"]
  minutes, seconds = divmod(record["seconds"], 60)
  return (
    f"Commit {environment['git_commit'][:7]}, Python {environment['python']}, "
    f"jax {environment['versions']['jax']}, {record['machine']}: {minutes} min "
    f"{seconds} s, {record['peak_gib']} GiB."
  )


def _table(name: str) -> list[str]:
  """Lines of a table; of all but the errors, those of the whole brain alone."""
  lines = (_ROOT / _WORKDIR / _TABLES[name]).read_text().splitlines()
  head, rule, *rows = (line for line in lines if line.startswith("|"))
  if name != "errors":
    rows = [row for row in rows if row.startswith(_BRAIN)]
  return [head, rule, *rows]


def main() -> None:
  """Runs the demo and writes record, documents and pictures."""
  if (_ROOT / _WORKDIR).exists():
    sys.exit(
      f"error: {_WORKDIR} exists already; remove it to time the whole demo"
    )
  record = run()
  environment = (_ROOT / _WORKDIR / "environment.json").read_text()
  record["environment"] = json.loads(environment)
  record["tables"] = {name: _table(name) for name in _TABLES}
  texts = {
    _ROOT / name: with_demo((_ROOT / name).read_text(), record)
    for name in _DOCUMENTS
  }
  with replacing(_RECORD) as path:
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
  for document, text in texts.items():
    with replacing(document) as path:
      path.write_text(text)
  for name in _PICTURES:
    with replacing(_ROOT / "docs" / name) as path:
      shutil.copyfile(_ROOT / _WORKDIR / name, path)


if __name__ == "__main__":
  main()
