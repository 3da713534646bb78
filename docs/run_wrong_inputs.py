"""Runs all cases of tests/wrong_inputs and writes docs/wrong_inputs.md.

python docs/run_wrong_inputs.py
"""

import collections
import pathlib
import sys
import tempfile

_ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(_ROOT))

from mrf_jax.io.atomic import write_text  # noqa: E402
from mrf_jax.timing.machine import device_name  # noqa: E402
from mrf_jax.workdir.environment import environment  # noqa: E402
from tests.wrong_inputs.cases import (  # noqa: E402
  MODULES,
  Case,
  all_cases,
  outcome,
)

_PATH = _ROOT / "docs/wrong_inputs.md"
_HEAD = """# Inputs that are easily taken wrongly

What the program makes of inputs that other programs would take without a word,
and of sound inputs that look unusual. **right**: taken as what it is;
**refused**: one line that names the remedy, and nothing is written; **named**:
accepted, with a sentence on the screen and in the record. The inputs are made
by `tests/wrong_inputs`, where each is a test; all scans are **simulated**.
`python docs/run_wrong_inputs.py` writes this page.
"""


def rows(cases: list[Case], counts: collections.Counter) -> list[str]:
  """Rows of a table; adds to the counts of verdicts."""
  lines = ["| input | expected | seen | verdict |", "| :-- | :-- | :-- | :-- |"]
  for case in cases:
    print(case.input, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
      seen = outcome(case, pathlib.Path(folder))
    counts[seen.verdict] += 1
    cells = (case.input, case.expected, seen.seen, seen.verdict)
    lines.append(f"| {' | '.join(c.replace('|', '¦') for c in cells)} |")
  return lines


def main() -> None:
  """Writes the document."""
  current = environment({})
  counts: collections.Counter = collections.Counter()
  sections = []
  for name, cases in all_cases().items():
    sections += [f"\n## {MODULES[name]}\n", *rows(cases, counts)]
  total = ", ".join(f"{n} {verdict}" for verdict, n in counts.most_common())
  origin = (
    f"\nCommit {current['git_commit'][:7]}, Python {current['python']}, jax "
    f"{current['versions']['jax']}, {device_name()}: {counts.total()} inputs, "
    f"{total}.\n"
  )
  write_text(_HEAD + origin + "\n".join(sections) + "\n", _PATH)


if __name__ == "__main__":
  main()
