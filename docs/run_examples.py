"""Runs the examples and copies their pictures to `docs/examples/`.

python docs/run_examples.py

Each script runs in a process of its own. Its seconds, the commit and the
machine are written into `examples/README.md`.
"""

import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

_ROOT = pathlib.Path(__file__).parent.parent
_PAGE = _ROOT / "examples" / "README.md"
_PICTURES = _ROOT / "docs" / "examples"
sys.path.insert(0, str(_ROOT))


def run(script: pathlib.Path, folder: pathlib.Path) -> float:
  """Runs a script in an empty folder; returns its seconds."""
  print(script.name, file=sys.stderr, flush=True)
  start = time.perf_counter()
  subprocess.run(
    [sys.executable, str(script)],
    cwd=folder,
    env={**os.environ, "MPLBACKEND": "Agg", "PYTHONPATH": str(_ROOT)},
    check=True,
  )
  return time.perf_counter() - start


def origin(seconds: dict[str, float]) -> str:
  """Line with the seconds, commit, versions and machine."""
  from mrf_jax.workdir.environment import environment

  current = environment({})
  times = ", ".join(f"{name} {took:.0f} s" for name, took in seconds.items())
  used = resource.getrusage(resource.RUSAGE_CHILDREN)
  return (
    f"Last run: {times}, together {sum(seconds.values()):.0f} s and "
    f"{used.ru_utime + used.ru_stime:.0f} s of CPU, beside other work; commit "
    f"{current['git_commit'][:7]}, Python {current['python']}, jax "
    f"{current['versions']['jax']}, {current['cores']} cores."
  )


def main() -> None:
  """Runs all scripts, then writes pictures and the page."""
  seconds = {}
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    for script in sorted((_ROOT / "examples").glob("*.py")):
      seconds[script.name] = run(script, folder)
    line = origin(seconds)
    _PICTURES.mkdir(exist_ok=True)
    for picture in folder.rglob("*.png"):
      shutil.copy(picture, _PICTURES)
  text = re.sub("^Last run: .*$", line, _PAGE.read_text(), flags=re.MULTILINE)
  _PAGE.write_text(text)


if __name__ == "__main__":
  main()
