"""Sound files of every kind that a command reads."""

import pytest
from sources import make_sources
from stages import make_stages

from tests.launcher import RAW


@pytest.fixture(scope="session")
def sources(smoke, launch, tmp_path_factory):
  folder = tmp_path_factory.mktemp("sound")
  launch.succeed(*RAW, f"--workdir={folder / 'raw'}")
  return make_sources(folder, smoke, folder / "raw/raw/subject-00.mrd")


@pytest.fixture(scope="session")
def stages(smoke, sources):
  return make_stages(smoke, sources)
