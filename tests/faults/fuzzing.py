"""Coverage-guided fuzzing of the readers, by atheris.

A reader may refuse what it is given, by `UserError`, and do nothing else.
"""

import argparse
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import h5py

ROOT = pathlib.Path(__file__).parent.parent.parent
# What bad input may take.
_LIMIT_S = 20
_LIMIT_KIB = 2 << 20

# Name of the reader to the suffix of its files and what reads them.
READERS = {
  "text schedule": (".txt", "load_sequence"),
  "MATLAB schedule": (".mat", "load_sequence"),
  "Pulseq schedule": (".seq", "load_sequence"),
  "NIfTI series": (".nii", "read_series"),
  "npy series": (".npy", "read_series"),
  "npz series": (".npz", "read_series"),
  "MATLAB 5 series": (".mat", "read_series"),
  "MATLAB 7.3 series": (".mat", "read_series"),
  "NIfTI mask": (".nii.gz", "read_volume"),
  "subject file": (".h5", "load_subject"),
  "ISMRMRD": (".mrd", "load_raw_data"),
  "model bundle": (".json", "load_model"),
}


class Fuzzed(NamedTuple):
  """What came of fuzzing one reader."""

  # How many it was given.
  inputs: int
  # Edges of our code and its readers' that were seen.
  branches: int
  # Inputs that a library never came back from, and that the watchdog ends in a
  # command.
  ended: int
  # What it raised that was no refusal; empty if nothing.
  found: str


def fuzz(
  reader: str,
  sound: pathlib.Path,
  *,
  seconds: int,
  keep: pathlib.Path,
  least_inputs: int = 1,
) -> Fuzzed:
  """Fuzzes a reader in processes of its own.

  Args:
    reader: one of `READERS`.
    sound: a file that it takes, or a bundle, to begin with.
    seconds: how long.
    keep: folder that gets the inputs of what was found.
    least_inputs: goes on until there were so many, however slow the machine.
  """
  keep.mkdir(parents=True, exist_ok=True)
  inputs = branches = ended = 0
  end = time.monotonic() + seconds
  while (left := end - time.monotonic()) > 1 or inputs < least_inputs:
    before = set(keep.iterdir())
    one = _fuzz_once(reader, sound, seconds=max(1, int(left)), keep=keep)
    inputs += one.inputs
    branches = max(branches, one.branches)
    new = set(keep.iterdir()) - before
    if one.found:
      if not new or not all(_is_ended(reader, sound, f) for f in new):
        return Fuzzed(inputs, branches, ended, one.found)
      ended += 1
  return Fuzzed(inputs, branches, ended, "")


def _is_ended(reader: str, sound: pathlib.Path, path: pathlib.Path) -> bool:
  """Whether the reader as it is, trial and watchdog included, refuses it.

  The fuzzed one goes without them. What it raised is a mistake of ours in any
  case; crashes, time and memory are those of a library, if they are got over
  within what bad input may take.
  """
  if not path.name.removeprefix(_prefix(reader)).startswith(
    ("crash-", "timeout-", "oom-")
  ):
    return False
  with tempfile.TemporaryDirectory() as name:
    given, file = _place(reader, sound, pathlib.Path(name))
    shutil.copyfile(path, file)
    try:
      done = _run(reader, given, "--once", timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
      return False
  last = done.stderr.splitlines()[-1:] or [""]
  return done.returncode == 1 and last[0].startswith("error: ")


def _prefix(reader: str) -> str:
  return reader.replace(" ", "-") + "-"


def _place(reader: str, sound: pathlib.Path, folder: pathlib.Path):
  """What a reader is given, and the file of it that is fuzzed."""
  suffix, _ = READERS[reader]
  if not sound.is_dir():
    path = folder / f"input{suffix}"
    return path, path
  shutil.copytree(sound, folder / "bundle")
  return folder / "bundle", folder / "bundle/model.json"


def _fuzz_once(
  reader: str, sound: pathlib.Path, *, seconds: int, keep: pathlib.Path
) -> Fuzzed:
  """Until something is found, or the time is up."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    seeds = folder / "seeds"
    seeds.mkdir()
    for number, data in enumerate(_seeds(sound, folder)):
      (seeds / str(number)).write_bytes(data)
    longest = max(path.stat().st_size for path in seeds.iterdir())
    done = _run(
      *(reader, sound, "--", seeds),
      f"-max_total_time={seconds}",
      f"-max_len={max(4096, 2 * longest)}",
      "-timeout=20",
      "-rss_limit_mb=2048",
      "-print_final_stats=1",
      f"-artifact_prefix={keep.absolute()}/{_prefix(reader)}",
    )
  said = done.stdout + done.stderr
  counts = re.findall(r"number_of_executed_units:\s*(\d+)", said)
  edges = re.findall(r"\bcov: (\d+)", said)
  found = ""
  if done.returncode:
    blamed = re.search(r"=== Uncaught Python exception: ===\n(.*)", said)
    found = blamed[1] if blamed else said[-300:]
  inputs = int(counts[-1]) if counts else 0
  return Fuzzed(inputs, max(map(int, edges), default=0), 0, found)


def _run(*arguments, timeout: float | None = None):
  # The system counts the memory of who begins a program as its own; libFuzzer
  # would take that of a long pytest for the reader's. A shell has little.
  shell = () if timeout else ("sh", "-c", '"$@"; exit $?', "sh")
  return subprocess.run(
    [*shell, sys.executable, __file__, *map(str, arguments)],
    env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    timeout=timeout,
  )


def _seeds(sound: pathlib.Path, folder: pathlib.Path) -> list[bytes]:
  """The file, and what it is without checksums: they would end every try."""
  if sound.is_dir():
    return [(sound / "model.json").read_bytes()]
  data = sound.read_bytes()
  if sound.suffix == ".seq":
    return [data, data.split(b"\n[SIGNATURE]")[0]]
  if sound.suffix != ".h5":
    return [data]
  plain = folder / "plain.h5"
  with h5py.File(sound) as old, h5py.File(plain, "w") as new:
    new.attrs.update(old.attrs)
    for name in old:
      old.copy(name, new)
    new.visititems(lambda name, item: item.attrs.pop("crc32", None) and None)
  return [data, plain.read_bytes()]


def _fuzz_here(
  reader: str, sound: pathlib.Path, arguments: list[str], *, once: bool
) -> None:
  import atheris

  watched = contextlib.nullcontext()
  if not once:
    watched = atheris.instrument_imports(
      include=["mrf_jax", "pypulseq", "nibabel", "xml"],
      exclude=["mrf_jax.networks", "mrf_jax.training.step"],
    )
  with watched:
    import pypulseq  # noqa: F401

    import mrf_jax
    from mrf_jax.importing.series import open_series
    from mrf_jax.inference import bundle_description
    from mrf_jax.io import hdf5, matlab, untrusted
    from mrf_jax.io.nifti import read_volume
    from mrf_jax.sequence import pulseq_events

    def read_series(path):
      open_series(path).mean_magnitude()

    own = {"read_series": read_series, "read_volume": read_volume}
    name = READERS[reader][1]
    function = own[name] if name in own else getattr(mrf_jax, name)

  # A description may have any checksum: who writes a file can write it, too.
  bundle_description.description_checksum = lambda d: d["sha256"]["description"]
  # Its own limits are atheris's; a process for each input would cost most of
  # it.
  if not once:
    for module in (matlab, hdf5):
      assert module.time_limit
      module.time_limit = lambda path, seconds=0: contextlib.nullcontext()
    assert pulseq_events.cpu_limit
    pulseq_events.cpu_limit = lambda seconds: contextlib.nullcontext()
    for module in (matlab, hdf5):
      assert module.try_file
      module.try_file = lambda path, kind: None

  if once:
    untrusted.end_this_program()
    _lead_astray(sound)
    try:
      function(sound)
    except mrf_jax.UserError as error:
      peak_kib = _peak_kib()
      sys.exit(f"{'error' if peak_kib < _LIMIT_KIB else peak_kib}: {error}")
    return
  folder = pathlib.Path(tempfile.mkdtemp(dir=_memory()))
  given, path = _place(reader, sound, folder)

  def one_input(data: bytes) -> None:
    path.write_bytes(data)
    _lead_astray(path)
    with contextlib.suppress(mrf_jax.UserError):
      function(given)

  atheris.Setup([sys.argv[0], *arguments], one_input)
  atheris.Fuzz()


def _lead_astray(path: pathlib.Path) -> None:
  """For the test of the fuzzer itself: a reader that a byte leads astray."""
  if "MRF_FUZZ_TEST" in os.environ:
    byte = path.read_bytes()[:1]
    if byte not in (b"1", b"2"):
      raise ZeroDivisionError(byte)


def _peak_kib() -> int:
  """Largest resident memory of this program, not of the one that began it."""
  text = pathlib.Path("/proc/self/status").read_text()
  return int(re.search(r"VmHWM:\s*(\d+) kB", text)[1])


def _memory() -> str | None:
  """A folder in memory, where the system has one."""
  return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


if __name__ == "__main__":
  parser = argparse.ArgumentParser()
  parser.add_argument("reader", choices=READERS)
  parser.add_argument("sound", type=pathlib.Path)
  parser.add_argument("--once", action="store_true")
  parser.add_argument("rest", nargs="*")
  known = parser.parse_args()
  _fuzz_here(known.reader, known.sound, known.rest, once=known.once)
