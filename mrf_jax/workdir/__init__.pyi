"""The folder of an experiment: paths, configuration, manifest and lock."""

from .configuration import OF_SUBJECTS, config_differences
from .environment import git_commit
from .workdir import Workdir

__all__ = ["OF_SUBJECTS", "Workdir", "config_differences", "git_commit"]
