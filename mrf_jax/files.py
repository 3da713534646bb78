"""Files that appear under their name only when they are complete."""

import contextlib
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """Temporary path beside `path`, renamed to it when the block succeeds.

  The temporary name keeps all suffixes, because libraries choose the format
  by them (`.nii.gz`). A failed block leaves the old file as it was.

  Args:
    path: the file to write; its directory exists.

  Yields:
    The name to write to.
  """
  path = pathlib.Path(path)
  temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
  try:
    yield temporary
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
