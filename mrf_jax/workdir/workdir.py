"""The folder of an experiment: its configuration, and paths of its results."""

import hashlib
import json
import os
import pathlib
from collections.abc import Sequence

from mrf_jax.errors import UserError, one_line, reason
from mrf_jax.io.atomic import is_unfinished, write_text
from mrf_jax.workdir.configuration import (
  FREE_KEYS,
  OF_FILES,
  config_differences,
)
from mrf_jax.workdir.environment import environment
from mrf_jax.workdir.lock import lock
from mrf_jax.workdir.manifest import (
  OF_RUNS,
  Manifest,
  check_reused,
  record_files,
)

# Record of what the results are made from, see `experiment/sources.py`.
SOURCES = "sources.json"
# The schedule of a training by `--mode=train`, in the folder of its workdir.
SCHEDULE = "schedule.txt"


class Workdir:
  """Paths of one experiment's results, all made by one configuration.

  Attributes:
    root: the folder.
    config: the configuration, as JSON stores it.
  """

  def __init__(
    self,
    root,
    config: dict,
    *,
    join: bool = False,
    subjects: "Workdir | None" = None,
    files_are_known: bool = False,
  ):
    """Opens a workdir, or makes a new one.

    Args:
      root: the folder.
      config: the whole configuration, plain dictionaries and values.
      join: another process has made the workdir; nothing is written.
      subjects: another workdir that has the subjects.
      files_are_known: the files of the subjects are those that the results
        are of, wherever they lie now.

    Raises:
      UserError: it cannot be written, another process writes there, it has
        results of another configuration or damaged ones, or it does not exist
        and cannot be joined.
    """
    self.root = pathlib.Path(root)
    self.config = json.loads(json.dumps(config))
    self._subjects = subjects or self
    if join:
      self._join()
      return
    try:
      self.root.mkdir(parents=True, exist_ok=True)
      lock(self.root)
      self._check_stored_config(files_are_known)
      check_reused(self.root)
      run = environment(config)
      run["git_commits"] = self._commits(run["git_commit"])
      record_files(self.root, run)
      write_text(_as_text(self.config), self.root / "config.json")
      write_text(_as_text(run), self.root / "environment.json")
      for folder in ("data", "maps", "models", "metrics", "figures"):
        (self.root / folder).mkdir(exist_ok=True)
    except OSError as error:
      raise UserError(
        f"{self.root}: cannot be written ({reason(error)})"
      ) from error

  @classmethod
  def existing(cls, root, *, subjects_from=None) -> "Workdir":
    """Opens a workdir to read it; another one may have its subjects.

    Raises:
      UserError: it has no configuration.
    """
    workdir = cls.__new__(cls)
    workdir.root = pathlib.Path(root)
    workdir._subjects = workdir
    if subjects_from is not None:
      workdir._subjects = cls.existing(subjects_from)
    stored = workdir._stored_config()
    if stored is None:
      raise UserError(f"{root}: is not a workdir (it has no config.json)")
    workdir.config = stored
    return workdir

  def subject(self, number: int) -> pathlib.Path:
    """File of a subject: one that the configuration names, or simulated."""
    files = self._subjects.config["data"].get("files")
    if files:
      return pathlib.Path(files[number])
    return self._subjects.root / "data" / f"subject-{number:02d}.h5"

  @property
  def with_subjects(self) -> "Workdir":
    """The workdir that has the subjects: itself, or another one."""
    return self._subjects

  def generated_head(self, number: int) -> pathlib.Path:
    """File of a training subject of random regions."""
    return self.root / "data" / f"generated-{number:02d}.h5"

  def raw_data(self, number: int) -> pathlib.Path:
    """ISMRMRD file of a subject's k-space, if it is kept."""
    return self._subjects.root / "raw" / f"subject-{number:02d}.mrd"

  def model(self, method: str, fold: int) -> pathlib.Path:
    """Bundle of the model that was trained without subject `fold`."""
    return self.root / "models" / method / f"fold-{fold}"

  def variant(self, question: str, name: str) -> pathlib.Path:
    """Workdir of a changed configuration, one of those of a question."""
    return self.root / "questions" / question / name

  def checkpoints(self, method: str) -> pathlib.Path:
    """Folder of a method's checkpoints during its training."""
    return self.root / "checkpoints" / method

  def map_file(
    self, method: str, number: int, name: str, *, deviation: bool = False
  ) -> pathlib.Path:
    """NIfTI file of one estimated map, or of its predicted deviation."""
    short = name.removesuffix("_ms") + ("_sd" if deviation else "")
    return self.root / "maps" / method / f"subject-{number:02d}_{short}.nii.gz"

  def figure(self, name: str) -> pathlib.Path:
    """File of a picture that is not one of the main results."""
    return self.root / "figures" / name

  def check_config(
    self,
    asked: dict,
    *,
    parts: Sequence[str],
    free: Sequence[str] = FREE_KEYS,
  ) -> None:
    """Raises UserError unless the results fit `parts` of a configuration."""
    self._raise_if_any(
      config_differences(self.config, asked, parts=parts, free=free)
    )

  def _join(self) -> None:
    stored = self._stored_config()
    if stored is None:
      raise UserError(
        f"{self.root}: is not the workdir that process 0 made; all processes "
        "need a workdir on a disk that they share"
      )
    # Unlike two runs, two processes may differ in nothing.
    if stored != self.config:
      different = config_differences(stored, self.config, free=())
      raise UserError(
        f"{self.root}: process 0 has another configuration: "
        + ", ".join(different[:3])
      )
    record_files(self.root, None)

  def _commits(self, now: str | None) -> list[str | None]:
    """Commits of all code that has opened the workdir, this one the last."""
    try:
      stored = json.loads((self.root / "environment.json").read_text())
      before = list(stored["git_commits"])
    except (OSError, ValueError, KeyError, TypeError):
      before = []
    return [*(commit for commit in before if commit != now), now]

  def _check_stored_config(self, files_are_known: bool) -> None:
    """Raises UserError if another configuration has made results here.

    If `config.json` was changed, its checksum in the manifest tells whether it
    was this configuration.
    """
    path = self.root / "config.json"
    entry = Manifest(self.root).changed(path.name)
    if entry and entry.sha256 == _sha256(_as_text(self.config)):
      return
    stored = self._stored_config()
    if stored is None:
      return
    free = (*FREE_KEYS, *OF_FILES) if files_are_known else FREE_KEYS
    different = config_differences(stored, self.config, free=free)
    if different and has_results(self.root):
      if entry:
        raise UserError(
          f"{path}: is not as run {entry.run} wrote it "
          f"({', '.join(different[:3])}); if the results are of the "
          f"configuration that is asked for now, remove {path}, and the same "
          "command writes it again and goes on"
        )
      self._raise_if_any(different)

  def _stored_config(self) -> dict | None:
    path = self.root / "config.json"
    if not path.exists():
      return None
    try:
      stored = json.loads(path.read_text())
      if not isinstance(stored, dict):
        raise ValueError("not a configuration")
      return stored
    except (OSError, ValueError) as error:
      raise UserError(
        f"{path}: damaged ({one_line(error)}); if the results are of the same "
        f"configuration, remove {path}, and the same command writes it again"
      ) from error

  def _raise_if_any(self, different: list[str]) -> None:
    if different:
      shown = ", ".join(different[:3])
      more = f" and {len(different) - 3} more" if len(different) > 3 else ""
      raise UserError(
        f"{self.root}: has results of another configuration: {shown}{more}; "
        "choose another --workdir"
      )


def has_results(root: str | os.PathLike) -> bool:
  """Whether a run has completed a file in a workdir."""
  root = pathlib.Path(root)
  no_results = (
    "config.json",
    "environment.json",
    SCHEDULE,
    SOURCES,
    *OF_RUNS,
  )
  # Folders may be links to another disk.
  for folder, _, names in os.walk(root, followlinks=True):
    inside = pathlib.Path(folder).relative_to(root)
    for name in names:
      if name not in no_results and not is_unfinished(inside / name):
        return True
  return False


def _as_text(content: dict) -> str:
  return json.dumps(content, indent=1, sort_keys=True) + "\n"


def _sha256(text: str) -> str:
  return hashlib.sha256(text.encode()).hexdigest()
