"""Compiled programs are found again, and nothing can come of it but speed."""

import errno
import os
import pathlib
import threading

import pytest

from mrf_jax.runtime import compilation_cache
from mrf_jax.runtime.compilation_cache import ProgramCache
from tests.launcher import RAW, SMOKE, run_python

KEY, VALUE = "jit_program-0123abcd", bytes(range(256)) * 40
# Compiles two programs, and tells what came of the cache.
PROGRAM = """
import os, sys
from mrf_jax.runtime import compilation_cache
for name in ("JAX_COMPILATION_CACHE_DIR", "TF_CPP_MIN_LOG_LEVEL"):
  os.environ.pop(name, None)
os.environ.update(line.split("=", 1) for line in sys.argv[2:])
choice = sys.argv[1] or None
compilation_cache.start(choice, warn=lambda text: print("warning:", text))
import jax
import numpy as np
found = []
jax.monitoring.register_event_listener(lambda name, **_: found.append(name))
print(jax.jit(lambda x: np.sin(1) * x[::7] @ x[::7].T)(np.eye(21)).sum())
for what in ("hits", "misses"):
  print(what, found.count(f"/jax/compilation_cache/cache_{what}"))
"""


@pytest.fixture
def warnings():
  return []


@pytest.fixture
def cache(tmp_path, warnings):
  folder = tmp_path / "jax-1.2.3-0123456789abcdef"
  folder.mkdir(mode=0o700)
  return ProgramCache(folder, warnings.append)


def entries(folder) -> dict[pathlib.Path, int]:
  """Files of a cache, and when each was used last."""
  files = [path for path in folder.rglob("*") if path.is_file()]
  return {path: path.stat().st_mtime_ns for path in files}


def compiled(choice="", *environment) -> list[str]:
  done = run_python(PROGRAM, choice, *environment)
  assert done.returncode == 0 and not done.stderr, done.stderr
  return done.stdout.splitlines()


def test_second_process_finds_the_programs(tmp_path):
  """It prints nothing, and has the same numbers."""
  value, no_hits, misses = compiled(tmp_path / "cache")
  assert no_hits == "hits 0" and misses != "misses 0"
  assert compiled(tmp_path / "cache") == [
    value,
    misses.replace("misses", "hits"),
    "misses 0",
  ]
  assert {path.stat().st_mode & 0o77 for path in tmp_path.rglob("*")} == {0}


def test_the_level_of_a_parent_that_imported_jax_prints_nothing(tmp_path):
  """JAX sets it to 1 for all processes that are started."""
  text = PROGRAM + "print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
  for given, expected in (("1", "3"), ("0", "0")):
    name = f"TF_CPP_MIN_LOG_LEVEL={given}"
    done = run_python(text, tmp_path, name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == expected


def test_another_processor_finds_nothing(tmp_path):
  compiled(tmp_path)
  before = entries(tmp_path)
  # Programs for other numbers of threads are others, too.
  assert "hits 0" in compiled(tmp_path, "NPROC=77")
  assert set(before) < set(entries(tmp_path))


def test_users_own_cache_and_choice_come_first(tmp_path):
  home = f"XDG_CACHE_HOME={tmp_path / 'home'}"
  own = f"JAX_COMPILATION_CACHE_DIR={tmp_path / 'own'}"
  off = "JAX_ENABLE_COMPILATION_CACHE=false"
  for choice, environment in (("none", [home]), ("", [home, off])):
    assert compiled(choice, *environment)[1:] == ["hits 0", "misses 0"]
  compiled("", home, own, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0")
  assert entries(tmp_path / "own") and not (tmp_path / "home").exists()
  compiled("", home)
  assert entries(tmp_path / "home" / "mrf_jax")


def test_damage_is_compiled_again(tmp_path):
  """Of every entry half is lost, as a full disk or a kill may leave it."""
  value, _, misses = compiled(tmp_path)
  for path in entries(tmp_path):
    os.truncate(path, path.stat().st_size // 2)
  assert compiled(tmp_path) == [value, "hits 0", misses]
  assert compiled(tmp_path)[1] == misses.replace("misses", "hits")


def _file_in_the_way(folder):
  (folder / "cache").write_text("")


def _link_to_nowhere(folder):
  (folder / "cache").symlink_to(folder / "nowhere")


def _open_to_others(folder):
  (folder / "cache").mkdir()
  (folder / "cache").chmod(0o777)


def _open_to_a_group(folder):
  (folder / "cache").mkdir()
  (folder / "cache").chmod(0o770)


@pytest.mark.parametrize(
  ("spoil", "words"),
  [
    (_file_in_the_way, "is not a folder"),
    (_link_to_nowhere, "cache: File exists"),
    (_open_to_others, "can be written by others"),
    (_open_to_a_group, "can be written by others"),
  ],
)
def test_bad_folder_is_one_line(tmp_path, spoil, words):
  spoil(tmp_path)
  line, _, *counts = compiled(tmp_path / "cache")
  assert line.startswith("warning: compiled programs are not kept for the next")
  assert str(tmp_path) in line and words in line
  assert counts == ["hits 0", "misses 0"]


def test_user_without_a_home(tmp_path, monkeypatch, warnings):
  monkeypatch.setattr("pathlib.Path.is_absolute", lambda path: False)
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
  compilation_cache.start(None, warn=warnings.append)
  assert "this user has no cache folder" in warnings[0]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="of POSIX")
def test_folder_and_entry_of_another_user(cache, tmp_path, monkeypatch):
  cache.put(KEY, VALUE)
  warnings = []
  own = os.geteuid()
  monkeypatch.setattr("os.geteuid", lambda: own + 1)
  assert cache.get(KEY) is None
  compilation_cache.start(str(tmp_path), warn=warnings.append)
  assert f"{tmp_path} belongs to another user" in warnings[0]


def test_entry_comes_back_as_it_was_put(cache):
  assert cache.get(KEY) is None
  cache.put(KEY, VALUE)
  assert cache.get(KEY) == VALUE and cache.get(KEY + "e") is None
  cache.put(KEY, VALUE[::-1])
  assert cache.get(KEY) == VALUE[::-1]


def _flip(path):
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)


@pytest.mark.parametrize(
  "spoil",
  [
    _flip,
    lambda path: os.truncate(path, path.stat().st_size - 1),
    lambda path: os.truncate(path, 0),
    lambda path: path.chmod(0o666),
    lambda path: (path.unlink(), path.mkdir()),
    lambda path: (path.rename(f"{path}-"), path.symlink_to(f"{path}-")),
  ],
)
def test_spoilt_entry_is_none(cache, tmp_path, spoil, warnings):
  cache.put(KEY, VALUE)
  (path,) = entries(tmp_path)
  spoil(path)
  assert cache.get(KEY) is None and not warnings


def test_entry_under_the_name_of_another_is_none(cache, tmp_path):
  cache.put(KEY, VALUE)
  (path,) = entries(tmp_path)
  cache.put("another", VALUE[::-1])
  (other,) = set(entries(tmp_path)) - {path}
  other.rename(path)
  assert cache.get(KEY) is None


def test_full_disk_is_left_alone(cache, tmp_path, monkeypatch, warnings):
  cache.put(KEY, VALUE)
  usage = compilation_cache.shutil.disk_usage(tmp_path)._replace(free=1 << 20)
  monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
  for key in ("second", "third"):
    cache.put(key, VALUE)
    assert cache.get(key) is None
  assert len(warnings) == 1 and "less than 256 MiB are free" in warnings[0]
  assert cache.get(KEY) == VALUE


@pytest.mark.parametrize(
  "number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES]
)
def test_failing_write_leaves_nothing(
  cache, tmp_path, monkeypatch, warnings, number
):
  def fail(*args):
    raise OSError(number, os.strerror(number))

  monkeypatch.setattr("os.replace", fail)
  for key in (KEY, "second"):
    cache.put(key, VALUE)
  assert not entries(tmp_path) and len(warnings) == 1


def test_writers_at_once_leave_whole_entries(cache, tmp_path, warnings):
  """As processes do: nobody reads the half of what another writes."""
  values = [bytes([k]) * 200_000 for k in range(8)]
  caches = [ProgramCache(cache._path, warnings.append) for _ in values]
  seen = set()

  def work(own, value):
    for _ in range(20):
      own.put(KEY, value)
      seen.add(own.get(KEY))

  threads = [
    threading.Thread(target=work, args=pair)
    for pair in zip(caches, values, strict=True)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert seen <= set(values) and len(entries(tmp_path)) == 1 and not warnings


def test_what_was_not_used_for_longest_goes(cache, tmp_path, monkeypatch):
  """Of all versions; files of the user in the same folder stay."""
  monkeypatch.setattr(compilation_cache, "_MOST_BYTES", 10 * len(VALUE))
  mine = tmp_path / "jax-models" / ("0" * 64)
  mine.parent.mkdir()
  mine.write_bytes(100 * VALUE)
  old = tmp_path / "jax-0.9.0-fedcba9876543210"
  old.mkdir(mode=0o700)
  for number in range(3):
    ProgramCache(old, print).put(f"old {number}", VALUE)
  for number, path in enumerate(sorted(entries(old))):
    os.utime(path, (number, number))
  (old / ".new-left").write_bytes(VALUE)
  os.utime(old / ".new-left", (0, 0))
  for number in range(9):
    cache.put(f"{number}", VALUE)
    os.utime(cache._file(f"{number}"), (100 + number, 100 + number))
    assert cache.get("0") == VALUE
  assert not entries(old) and mine.stat().st_size == 100 * len(VALUE)
  assert cache.get("8") == VALUE and cache.get("1") is None


@pytest.fixture(scope="module")
def small_scan(launch, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("scan") / "run"
  launch.succeed(*RAW, f"--workdir={workdir}")
  return workdir / "data" / "subject-00.h5"


def check_second_finds_all(launch, cache, *flags):
  """The same command twice, `{}` in its flags being its number."""
  for number in range(2):
    before = entries(cache)
    own = [str(flag).replace("{}", str(number)) for flag in flags]
    launch.succeed(*own, f"--compilation_cache={cache}")
  after = entries(cache)
  assert before and before.keys() == after.keys()
  # Found, and used: of each the last use is new.
  assert all(after[path] > before[path] for path in before)


def test_second_reconstruction_compiles_nothing(launch, smoke, tmp_path):
  check_second_finds_all(
    launch,
    tmp_path / "cache",
    "--mode=reconstruct",
    f"--model={smoke / 'models/spatiotemporal/fold-0'}",
    f"--scan={smoke / 'data/subject-00.h5'}",
    f"--output={tmp_path}/maps-{{}}",
  )


def test_second_matching_compiles_nothing(launch, small_scan, tmp_path):
  check_second_finds_all(
    launch,
    tmp_path / "cache",
    "--mode=reconstruct",
    *("--model=dictionary_svd", SMOKE),
    f"--scan={small_scan}",
    f"--output={tmp_path}/maps-{{}}",
  )


def test_second_training_compiles_nothing(launch, tmp_path):
  """Simulation and the steps of `pmap`, too."""
  check_second_finds_all(
    launch,
    tmp_path / "cache",
    SMOKE,
    "--config.methods=('cohen',)",
    f"--workdir={tmp_path}/run-{{}}",
  )


def test_times_of_a_benchmark_are_cold(launch):
  done = launch("--mode=benchmark", SMOKE, "--compilation_cache=folder")
  assert done.returncode == 1
  assert "--compilation_cache is for --mode=crossval|" in done.stderr
