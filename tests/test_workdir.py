"""Whose results a workdir holds."""

import pytest

from mrf_jax import UserError
from mrf_jax.workdir import Workdir

CONFIG = {"seed": 0, "data": {"n": 3}}


def test_another_configuration_is_refused_where_there_are_results(tmp_path):
  Workdir(tmp_path / "run", CONFIG)
  (tmp_path / "run/data/subject-00.h5").write_text("a result")
  Workdir(tmp_path / "run", CONFIG)
  with pytest.raises(UserError, match=r"another configuration: data\.n=3 "):
    Workdir(tmp_path / "run", {"seed": 0, "data": {"n": 4}})


def test_a_run_that_came_to_nothing_is_in_nobodys_way(tmp_path):
  Workdir(tmp_path / "run", CONFIG)
  (tmp_path / "run/errors.log").write_text("a story")
  other = {"seed": 1, "data": {"n": 3}}
  Workdir(tmp_path / "run", other)
  assert Workdir.existing(tmp_path / "run").config == other
