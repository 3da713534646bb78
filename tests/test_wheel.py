"""The installed package: built as a wheel, used in an empty folder."""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

import mrf_jax
from tests.conftest import ROOT


def run(*command, cwd, **environment):
  return subprocess.run(
    [*map(str, command)],
    cwd=cwd,
    env={**os.environ, "JAX_PLATFORMS": "cpu", **environment},
    capture_output=True,
    text=True,
    check=False,
  )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """The wheel, built from a copy: a build leaves files in its tree."""
  folder = tmp_path_factory.mktemp("wheel")
  tree = folder / "tree"
  tree.mkdir()
  ignored = shutil.ignore_patterns("__pycache__")
  for name in ("mrf_jax", "configs"):
    shutil.copytree(ROOT / name, tree / name, ignore=ignored)
  for name in (
    *("pyproject.toml", "setup.py", "requirements.txt"),
    *("README.md", "LICENSE"),
  ):
    shutil.copy(ROOT / name, tree)
  code = "import sys, setuptools.build_meta as b; b.build_wheel(sys.argv[1])"
  done = run(sys.executable, "-W", "ignore", "-c", code, folder, cwd=tree)
  assert done.returncode == 0, done.stderr
  (path,) = folder.glob("*.whl")
  return path


@pytest.fixture(scope="module")
def command(wheel, tmp_path_factory):
  """`mrf-jax …` in an empty folder, as a function of its arguments."""
  site = tmp_path_factory.mktemp("site")
  pip = (sys.executable, "-m", "pip", "install", "-q", "--no-deps")
  offline = ("--no-index", "--disable-pip-version-check", "--target", site)
  done = run(*pip, *offline, wheel, cwd=site)
  assert done.returncode == 0, done.stderr
  empty = tmp_path_factory.mktemp("empty")

  def mrf_jax_command(*arguments):
    script = site / "bin/mrf-jax"
    return run(script, *arguments, cwd=empty, PYTHONPATH=str(site))

  mrf_jax_command.folder = empty
  return mrf_jax_command


def succeed(command, *arguments):
  done = command(*arguments)
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_every_file_is_in_the_wheel(wheel):
  """Pages, stubs and configurations, and no package of another name."""
  names = set(zipfile.ZipFile(wheel).namelist())
  mine = {
    path.relative_to(ROOT)
    for folder in ("mrf_jax", "configs")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix != ".pyc"
  }
  inside = {str(p) if p.parts[0] == "mrf_jax" else f"mrf_jax/{p}" for p in mine}
  assert {"mrf_jax/configs/demo.py", "mrf_jax/report/page.html"} <= inside
  info = f"mrf_jax-{mrf_jax.__version__}.dist-info/"
  assert {name for name in names if not name.startswith(info)} == inside
  metadata = zipfile.ZipFile(wheel).read(f"{info}METADATA").decode()
  for line in (ROOT / "requirements.txt").read_text().splitlines():
    if not line.startswith("#"):
      assert f"Requires-Dist: {line.split('>')[0]}" in metadata


def test_the_command_says_how_to_begin(command):
  done = command()
  assert done.returncode == 1 and not done.stderr
  assert "\n  mrf-jax crossval --config=demo --workdir=runs/demo" in done.stdout
  assert "\n  mrf-jax reconstruct --model=" in done.stdout
  assert re.search(r"\bdemo +The whole", succeed(command, "--help"))
  text = succeed(command, "reconstruct", "--help")
  assert "\n  mrf-jax reconstruct --model=" in text
  assert succeed(command, "--version") == f"mrf_jax {mrf_jax.__version__}\n"


def test_configurations_of_ones_own(command):
  """They start from the built-in ones, or from those of their own package."""
  mine = command.folder / "mine.py"
  mine.write_text(
    "from configs import smoke\n\n\ndef get_config():\n"
    "  config = smoke.get_config()\n  config.mine = 3\n  return config\n"
  )
  flags = (f"--workdir={command.folder / 'run'}", "--config.mine=4")
  done = command("design", "--config=mine.py", *flags, "--config.nothing=1")
  assert done.stderr.startswith("error: --config has no value nothing")
  done = command("design", "--config=smoke", *flags)
  assert done.stderr.startswith("error: --config has no value mine")
  mine.unlink()


def test_a_report_has_its_page(command, smoke):
  shutil.copytree(smoke, command.folder / "run")
  succeed(command, "report", "--workdir=run", "--output=report")
  page = (command.folder / "report/report.html").read_text()
  assert 'id="viewer"' in page
  shutil.rmtree(command.folder / "run")


@pytest.mark.long
def test_from_a_name_to_maps(command):
  """The whole way in an empty folder: run, report, reconstruction, export."""
  done = command("--config=smoke", "--workdir=run")
  assert done.returncode == 0, done.stderr
  assert "spatiotemporal_plus" in done.stdout and "\r" not in done.stderr
  succeed(command, "report", "--workdir=run")
  assert (command.folder / "run/report.html").exists()
  model = "--model=run/models/spatiotemporal_plus/fold-0"
  scan = "--scan=run/data/subject-00.h5"
  succeed(command, "reconstruct", model, scan, "--output=maps")
  assert (command.folder / "maps/t1.nii.gz").exists()
  succeed(command, "export", model, "--output=net.stablehlo")
  assert (command.folder / "net.stablehlo").stat().st_size > 1000
  environment = (command.folder / "run/environment.json").read_text()
  assert '"git_commit": null' in environment
  assert f'"mrf_jax": "{mrf_jax.__version__}"' in environment


def test_version_is_the_same_everywhere():
  version = mrf_jax.__version__
  assert f"\n## {version} (" in (ROOT / "CHANGELOG.md").read_text()
  assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
