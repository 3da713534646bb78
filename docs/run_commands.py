"""Runs the commands of a document and writes what they print into it.

python docs/run_commands.py docs/your-own-data.md

Bash runs every line that begins with `$ ` inside a block ```console```, in the
project's root. The output replaces the text below the command: errors are
included, progress bars are not. Commit and versions replace the line `Last run:
…`.
"""

import os
import pathlib
import re
import subprocess
import sys

_ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(_ROOT))
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
# A command with its continuation lines.
_COMMAND = re.compile(r"^\$ (?:.*\\\n)*.*$", re.MULTILINE)


def run(command: str) -> str:
  """Runs a command; returns its output and its one-line errors."""
  print(command, file=sys.stderr, flush=True)
  done = subprocess.run(
    ["bash", "-o", "pipefail", "-c", command],
    cwd=_ROOT,
    env={**os.environ, "COLUMNS": "80"},
    capture_output=True,
    text=True,
    check=False,
  )
  errors = [x for x in done.stderr.splitlines() if x.startswith("error: ")]
  if done.returncode and not errors:
    sys.exit(f"error: {command}\n{done.stderr}")
  return "\n".join([*done.stdout.rstrip().splitlines(), *errors])


def rewritten(block: re.Match) -> str:
  """Runs the commands of a block; returns the block with their output."""
  parts = []
  for command in _COMMAND.findall(block[1]):
    printed = run(command.removeprefix("$ "))
    parts.append(command + "\n" + (printed + "\n" if printed else ""))
  return "```console\n" + "\n".join(parts) + "```"


def origin() -> str:
  """Line with commit, versions and cores."""
  from mrf_jax.workdir.environment import environment

  current = environment({})
  return (
    f"Last run: commit {current['git_commit'][:7]}, "
    f"Python {current['python']}, "
    f"jax {current['versions']['jax']}, {current['cores']} cores."
  )


def main(path: pathlib.Path) -> None:
  """Rewrites the document."""
  # Asked before the commands write files.
  line = origin()
  text = _BLOCK.sub(rewritten, path.read_text())
  path.write_text(re.sub("^Last run: .*$", line, text, flags=re.MULTILINE))


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]))
