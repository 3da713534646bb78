"""Sound files of every kind that a command reads."""

import pytest
from sources import make_sources


@pytest.fixture(scope="session")
def sources(smoke, launch, tmp_path_factory):
  folder = tmp_path_factory.mktemp("sound")
  done = launch(
    "--config=configs/smoke.py",
    "--mode=simulate",
    "--config.data.n_subjects=1",
    "--config.data.keep_raw=True",
    f"--workdir={folder / 'raw'}",
  )
  assert done.returncode == 0, done.stderr
  return make_sources(folder, smoke, folder / "raw/raw/subject-00.mrd")
