"""Runs the commands of a document and writes what they print into it.

python docs/run_commands.py docs/your-own-data.md

Every line that begins with `$ ` inside a block ```console``` is run by bash in
the project's root, one after another; what stood below it gives way to what it
prints now, errors included, progress bars not. A line `Last run: …` gives way
to commit and versions.
"""

import os
import pathlib
import re
import subprocess
import sys

_ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(_ROOT))
_BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
# A command, and the lines that it goes on over.
_COMMAND = re.compile(r"^\$ (?:.*\\\n)*.*$", re.MULTILINE)


def run(command: str) -> str:
  """What a command prints."""
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
  """A block with fresh output."""
  parts = []
  for command in _COMMAND.findall(block[1]):
    printed = run(command.removeprefix("$ "))
    parts.append(command + "\n" + (printed + "\n" if printed else ""))
  return "```console\n" + "\n".join(parts) + "```"


def origin() -> str:
  """What the commands are run with."""
  from mrf_jax.workdir.environment import environment

  found = environment({})
  return (
    f"Last run: commit {found['git_commit'][:7]}, Python {found['python']}, "
    f"jax {found['versions']['jax']}, {found['cores']} cores."
  )


def main(path: pathlib.Path) -> None:
  """Rewrites the document."""
  said = origin()
  text = _BLOCK.sub(rewritten, path.read_text())
  path.write_text(re.sub("^Last run: .*$", said, text, flags=re.MULTILINE))


if __name__ == "__main__":
  main(pathlib.Path(sys.argv[1]))
