"""Writes docs/reliability.md: faults injected, inputs tried, readers fuzzed.

python tests/faults/run.py --kills=100 --fuzz_minutes=60

About an hour and a half on two cores with these numbers. Each part is written
to WORKDIR when it is done, and is not done again; `--parts=inputs` does one.
"""

import argparse
import collections
import datetime
import json
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent.parent))

import disks
from corpus import make_cases
from fuzzing import READERS, fuzz
from inputs import try_inputs
from kills import kill
from sources import make_sources
from stages import make_stages, start, whole_run

from mrf_jax.workdir.environment import git_commit
from tests.launcher import RAW, ROOT, SMOKE, serving

PARTS = ("kills", "disks", "files", "processes", "inputs", "fuzzing")
# Of a hundred kills.
_SHARES = {
  "crossval": 20,
  "simulate": 16,
  "import": 14,
  "reconstruct": 14,
  "finetune": 14,
  "export": 8,
  "report": 14,
}
# Of the undisturbed run's size.
_FULL_AT = (0.1, 0.3, 0.5, 0.7, 0.9)
# Files that stand by then.
_READ_ONLY_AFTER = (2, 4, 10, 25, 40)
_WORDS = "reliability_notes.md"
_INTRODUCTION = """\
# What was done to it, and what came of it

Written by `python tests/faults/run.py`, on simulated heads of
`configs/smoke.py`. *Survived* is: nothing was half written, and the next start
had the results of an undisturbed run to the last bit, or said in one line what
to remove, and then had them. *Refused* is: one line that names what is wrong,
an exit code that is not 0, no traceback, nothing written, less than 20 s and
2 GiB.

"""


def main() -> None:
  """Runs the parts that are missing and writes the page."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--kills", type=int, default=100)
  parser.add_argument("--fuzz_minutes", type=float, default=60.0)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
  parser.add_argument(
    "--workdir", type=pathlib.Path, default="runs/reliability"
  )
  parser.add_argument(
    "--output", type=pathlib.Path, default="docs/reliability.md"
  )
  options = parser.parse_args()
  workdir = options.workdir.absolute()
  workdir.mkdir(parents=True, exist_ok=True)
  makers = {
    "kills": lambda f: _kills(f, options.kills, options.seed),
    "disks": _disks,
    "files": _files,
    "processes": _processes,
    "inputs": lambda f: _inputs(f, options.seed),
    "fuzzing": lambda f: _fuzzing(f, options.fuzz_minutes),
  }
  flags = {
    "kills": f" --kills={options.kills}",
    "fuzzing": f" --fuzz_minutes={options.fuzz_minutes:g}",
  }
  for part in options.parts:
    path = workdir / f"{part}.json"
    if path.exists():
      continue
    print(f"{part} ...", file=sys.stderr, flush=True)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
      folder = pathlib.Path(name)
      folder.chmod(0o755)
      rows = makers[part](_Place(folder, workdir))
    found = {
      "rows": rows,
      "command": f"python tests/faults/run.py --parts {part}"
      + flags.get(part, ""),
      "minutes": (time.monotonic() - begin) / 60,
      "commit": git_commit(),
      "python": platform.python_version(),
      "date": datetime.date.today().isoformat(),
    }
    path.write_text(json.dumps(found, indent=1) + "\n")
  options.output.write_text(_page(workdir, options.output.with_name(_WORDS)))
  print(options.output)


class _Place:
  """Sound inputs, made once, and an empty folder."""

  def __init__(self, folder: pathlib.Path, workdir: pathlib.Path):
    self.folder = folder
    self.workdir = workdir
    self.smoke = workdir / "smoke"
    raw = workdir / "raw"
    for place, flags in ((self.smoke, (SMOKE,)), (raw, RAW)):
      command = [sys.executable, "launch.py", f"--workdir={place}", *flags]
      subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    sound = workdir / "sound"
    shutil.rmtree(sound, ignore_errors=True)
    sound.mkdir()
    self.sources = make_sources(sound, self.smoke, raw / "raw/subject-00.mrd")
    self.stages = make_stages(self.smoke, self.sources)

  def copy(self, name: str) -> pathlib.Path:
    """A folder with a copy of the finished cross-validation."""
    shutil.copytree(self.smoke, self.folder / name / "run")
    return self.folder / name


def _kills(place: _Place, count: int, seed: int) -> list[dict]:
  rows = []
  for name, share in _SHARES.items():
    # Hours are not lost with the last of them.
    done_before = place.workdir / f"kills-{name}.json"
    if done_before.exists():
      rows.append(json.loads(done_before.read_text()))
      continue
    folder = place.folder / name
    folder.mkdir()
    wanted = round(share * count / sum(_SHARES.values()))
    whole = kill(place.stages[name], folder, kills=wanted, seed=seed)
    rows.append(
      _survived(
        f"`{name}` killed (SIGKILL, SIGTERM, SIGINT)",
        wanted,
        f"{whole} runs came to their end, all with the results of an "
        "undisturbed one",
      )
    )
    done_before.write_text(json.dumps(rows[-1]) + "\n")
    shutil.rmtree(folder)
  return rows


def _disks(place: _Place) -> list[dict]:
  rows = []
  for name in ("crossval", "simulate", "reconstruct"):
    stage = place.stages[name]
    whole = place.folder / f"{name}-whole"
    expected = whole_run(stage, whole)
    size = sum(p.stat().st_size for p in whole.rglob("*") if p.is_file())
    if disks.may_mount():
      for share in _FULL_AT:
        folder = place.folder / f"{name}-{share}"
        disks.on_a_full_disk(stage, folder, expected, size=int(share * size))
      rows.append(_survived(f"`{name}` on a disk that fills up", len(_FULL_AT)))
    if name != "crossval":
      continue
    limits = (2_000, 30_000, 100_000)
    for limit in limits:
      folder = place.folder / f"{name}-limit-{limit}"
      folder.mkdir()
      disks.with_small_files(stage, folder, expected, size=limit)
    rows.append(_survived(f"`{name}` where files may not grow", len(limits)))
    if disks.without_privileges() is not None:
      for count in _READ_ONLY_AFTER:
        folder = place.folder / f"{name}-after-{count}"
        folder.mkdir()
        disks.where_writing_ends(stage, folder, expected, after_files=count)
      rows.append(
        _survived(
          f"`{name}`, its workdir becoming read-only", len(_READ_ONLY_AFTER)
        )
      )
  return rows


def _files(place: _Place) -> list[dict]:
  stage = place.stages["crossval"]
  expected = stage.content(place.copy("expected"))
  counts: dict[str, collections.Counter] = {}
  with serving(place.folder / "launcher") as launch:
    for name in disks.kinds_of_files(place.folder / "expected"):
      for damage in disks.DAMAGES:
        folder = place.copy("broken")
        how = disks.broken(
          stage, folder, expected, name=name, damage=damage, launch=launch
        )
        counts.setdefault(damage.__doc__ or "", collections.Counter())[how] += 1
        shutil.rmtree(folder)
  return [
    _survived(
      f"a file of a finished workdir: {words.rstrip('.').lower()}",
      sum(how.values()),
      ", ".join(f"{count} {which}" for which, count in how.items()),
    )
    for words, how in counts.items()
  ]


def _processes(place: _Place) -> list[dict]:
  """Two runs in one workdir, and one whose lock's holder was killed."""
  stage = place.stages["crossval"]
  expected = stage.content(place.copy("expected"))
  folder = place.folder / "two"
  folder.mkdir()
  first = start(stage, folder)
  while not (folder / "run/config.json").exists():
    assert first.poll() is None
    time.sleep(0.05)
  seconds = []
  while first.poll() is None and len(seconds) < 5:
    begin = time.monotonic()
    second = start(stage, folder)
    _, said = second.communicate()
    if first.poll() is not None:
      break
    seconds.append(time.monotonic() - begin)
    assert second.returncode == 1 and f"{first.pid} on " in said, said
  _, said = first.communicate()
  assert first.returncode == 0, said
  assert stage.content(folder) == expected
  rows = [
    _survived(
      "a second run in a workdir",
      len(seconds),
      f"refused after {max(seconds):.1f} s at the longest; the first had the "
      "results of an undisturbed one",
    )
  ]
  killed = place.folder / "killed"
  killed.mkdir()
  run = start(stage, killed)
  while not (killed / "run/.lock").exists():
    time.sleep(0.05)
  run.kill()
  run.communicate()
  assert whole_run(stage, killed) == expected
  rows.append(_survived("a lock whose holder was killed", 1))
  return rows


def _inputs(place: _Place, seed: int) -> list[dict]:
  counts: dict[str, list] = {}
  with serving(place.folder / "launcher") as launch:
    cases = make_cases(place.sources, place.folder / "bad", seed)
    for answer in try_inputs(cases, place.sources, launch):
      counts.setdefault(answer.case.kind, []).append(answer)
  rows = []
  for kind, answers in counts.items():
    wrong = [f"{a.case.name}: {a.wrong}" for a in answers if a.wrong]
    seconds = max(a.done.seconds for a in answers)
    mib = max(a.done.peak_mib for a in answers)
    good = f"at most {seconds:.1f} s, {mib:.0f} MiB, nothing written"
    what = kind.replace(", packed,", ", packed")
    row = _survived(what, len(answers), "; ".join(wrong) or good)
    rows.append(row | {"survived": len(answers) - len(wrong)})
  return rows


def _fuzzing(place: _Place, minutes: float) -> list[dict]:
  rows = []
  minutes /= len(READERS)
  for reader in READERS:
    found = fuzz(
      reader,
      place.sources[reader].path,
      seconds=max(5, int(60 * minutes)),
      keep=place.workdir / "found",
    )
    note = found.found or "nothing"
    if found.ended and not found.found:
      note = f"nothing, but for {found.ended} that the watchdog ends"
    rows.append(
      {
        "what": reader,
        "tried": found.inputs,
        "minutes": minutes,
        "branches": found.branches,
        "note": note,
      }
    )
  return rows


def _survived(what: str, count: int, note: str = "") -> dict[str, Any]:
  return {"what": what, "tried": count, "survived": count, "note": note}


def _page(workdir: pathlib.Path, words: pathlib.Path) -> str:
  """All parts that stand, and what people say of them."""
  parts = {
    part: json.loads((workdir / f"{part}.json").read_text())
    for part in PARTS
    if (workdir / f"{part}.json").exists()
  }
  lines = _INTRODUCTION.splitlines()
  faults = [
    row
    for part in ("kills", "disks", "files", "processes")
    for row in parts.get(part, {"rows": []})["rows"]
  ]
  if faults:
    lines += ["## Faults", "", *_table(faults, "survived"), ""]
  if "inputs" in parts:
    rows = parts["inputs"]["rows"]
    lines += ["## Bad inputs", "", *_table(rows, "refused"), ""]
  if "fuzzing" in parts:
    lines += ["## Fuzzed readers", ""]
    lines += ["| reader | minutes | inputs | branches seen | found |"]
    lines += ["| :-- | --: | --: | --: | :-- |"]
    lines += [
      f"| {row['what']} | {row['minutes']:.1f} | {row['tried']:,} | "
      f"{row['branches']} | {row['note']} |"
      for row in parts["fuzzing"]["rows"]
    ]
    lines.append("")
  if words.exists():
    lines += [words.read_text().rstrip(), ""]
  lines += ["## To repeat it", ""]
  lines += ["| part | command | commit | Python | minutes |"]
  lines += ["| :-- | :-- | :-- | :-- | --: |"]
  for part, found in parts.items():
    lines.append(
      f"| {part} | `{found['command']}` | "
      f"{(found['commit'] or '')[:7]} | {found['python']} | "
      f"{found['minutes']:.1f} |"
    )
  return "\n".join(lines) + "\n"


def _table(rows: list[dict], word: str) -> list[str]:
  total, good = (
    sum(row[name] for row in rows) for name in ("tried", "survived")
  )
  return [
    f"| what | tried | {word} | |",
    "| :-- | --: | --: | :-- |",
    *(
      f"| {row['what']} | {row['tried']} | {row['survived']} | {row['note']} |"
      for row in rows
    ),
    f"| **all** | **{total}** | **{good}** | |",
  ]


if __name__ == "__main__":
  main()
