"""Whether a workdir is of the configuration that is asked for."""

import pytest

from mrf_jax import UserError
from mrf_jax.io.atomic import replacing
from mrf_jax.workdir import Workdir, manifest
from tests.launcher import run_python

CONFIG = {"seed": 0, "data": {"n": 3}}
OTHER = {**CONFIG, "seed": 1}


@pytest.mark.parametrize(
  ("other", "difference"),
  [(OTHER, "seed=0"), ({"seed": 0, "data": {"n": 4}}, r"data\.n=3")],
)
@pytest.mark.parametrize("is_link", [False, True])
def test_other_configuration_is_refused(tmp_path, other, difference, is_link):
  """If there are results, whether or not they are on another disk."""
  root, scratch = tmp_path / "run", tmp_path / "scratch"
  if is_link:
    root.mkdir()
    scratch.mkdir()
    (root / "data").symlink_to(scratch)
  Workdir(root, CONFIG)
  (root / "data/subject-00.h5").write_text("a result")
  Workdir(root, CONFIG)
  with pytest.raises(
    UserError,
    match=rf"run: has results of another configuration: {difference} \(now ",
  ):
    Workdir(root, other)


@pytest.mark.parametrize(
  "leftover",
  [
    "errors.log",
    "data/.tmp-7@host-subject-00.h5",
    "models/cohen/.fold-0.7@host.tmp/model.json",
    ".new-7@host/record.json",
  ],
)
def test_run_without_results_is_replaced(tmp_path, leftover):
  root = tmp_path / "run"
  Workdir(root, CONFIG)
  (root / leftover).parent.mkdir(parents=True, exist_ok=True)
  (root / leftover).write_text("half")
  Workdir(root, OTHER)
  assert Workdir.existing(root).config == OTHER


def test_damaged_result_is_refused(tmp_path):
  Workdir(tmp_path, CONFIG)
  with replacing(tmp_path / "data/subject-00.h5") as path:
    path.write_text("a result")
  Workdir(tmp_path, CONFIG)
  (tmp_path / "data/subject-00.h5").write_text("a Result")
  with pytest.raises(UserError, match=r"00\.h5: is not as run 1 wrote it"):
    Workdir(tmp_path, CONFIG)


@pytest.fixture
def damaged(tmp_path):
  """A workdir with a result; a digit of its configuration was changed."""
  root = tmp_path / "run"
  Workdir(root, CONFIG)
  (root / "data/subject-00.h5").write_text("a result")
  path = root / "config.json"
  text = path.read_text()
  path.write_text(text.replace('"seed": 0', '"seed": 4'))
  assert path.read_text() != text
  return root


def test_damaged_configuration_is_named(damaged):
  state = manifest.Manifest(damaged).state("config.json")
  assert state == ("changed", 1)
  with pytest.raises(UserError, match=r"config\.json: is not as run 1 wrote"):
    manifest.check_borrowed(damaged, "data")


@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_same_configuration_is_written_again(damaged, text):
  if text is not None:
    (damaged / "config.json").write_text(text)
  Workdir(damaged, CONFIG)
  assert Workdir.existing(damaged).config == CONFIG
  assert manifest.Manifest(damaged).state("config.json") == ("whole", 2)


def test_damaged_configuration_can_be_removed(damaged):
  """The message says so if another one is asked for, here other methods."""
  other = {**CONFIG, "methods": ["cohen"]}
  path = damaged / "config.json"
  with pytest.raises(
    UserError, match=rf"not as run 1 wrote it \(seed=4 .*remove {path}, "
  ):
    Workdir(damaged, other)
  path.unlink()
  Workdir(damaged, other)
  assert Workdir.existing(damaged).config == other


def test_earlier_configuration_does_not_count(tmp_path):
  """The manifest has the first one, too; it made no results."""
  root = tmp_path / "run"
  Workdir(root, CONFIG)
  Workdir(root, OTHER)
  (root / "data/subject-00.h5").write_text("a result")
  (root / "config.json").write_text("{}")
  with pytest.raises(UserError, match="not as run 2 wrote it"):
    Workdir(root, CONFIG)


def test_configuration_without_an_entry(damaged):
  """Without its checksum, a changed configuration is another one."""
  path = damaged / manifest.NAME
  lines = path.read_text().splitlines()
  path.write_text("\n".join(x for x in lines if "config.json" not in x))
  with pytest.raises(UserError, match="has results of another configuration"):
    Workdir(damaged, CONFIG)


def test_flags_do_not_start_jax():
  """They import the lock, and `mrf_jax.workdir` with it."""
  code = (
    "import mrf_jax.command_line.flags, sys; sys.exit('jax' in sys.modules)"
  )
  assert run_python(code).returncode == 0
