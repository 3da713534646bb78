"""Several processes, on one host or many, that share one experiment.

Each has devices of its own and the workdir in common. Nothing crosses between
them but barriers: folds do not talk to each other.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import jax
from orbax.checkpoint import multihost

from mrf_jax.errors import UserError, one_line
from mrf_jax.runtime.cluster import in_cluster
from mrf_jax.runtime.compiler_check import check_compiler

# Process 0 may evaluate for long while the others wait for the end.
_BARRIER_MS = 7 * 24 * 3600 * 1000
# A process that has not been heard of for so long is taken for dead.
_HEARTBEAT_S = 60
_LAST_WORDS_S = 5


def start(
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
  *,
  timeout_s: int,
  say_error: Callable[[str], Any],
) -> None:
  """Joins the other processes, if there are any.

  Args:
    coordinator: host:port of process 0; None asks the cluster's environment,
      and without one this process is alone.
    num_processes: how many there are; None asks the cluster's environment.
    process_id: which this is, from 0; None asks the cluster's environment.
    timeout_s: how long to wait for the others, s.
    say_error: tells the user one line; the program ends then.

  Raises:
    UserError: some but not all of the three are given, they make no sense, or
      JAX finds no device.
  """
  given = {
    "--coordinator": coordinator,
    "--num_processes": num_processes,
    "--process_id": process_id,
  }
  missing = [name for name, value in given.items() if value is None]
  if len(missing) == len(given):
    if not in_cluster():
      check_device()
      return
  elif missing:
    raise UserError(f"{', '.join(missing)} missing beside the other flags")
  elif num_processes < 1 or not 0 <= process_id < num_processes:  # type: ignore
    raise UserError(
      f"--process_id is {process_id}, --num_processes {num_processes}; "
      "processes are numbered from 0"
    )
  elif ":" not in str(coordinator):
    raise UserError(f"--coordinator={coordinator} is not host:port")

  # JAX aborts the process with a trace when its own time is up.
  def give_up():
    where = coordinator or "the cluster's coordinator"
    say_error(
      f"--coordinator: {where} and all processes have not met within "
      f"{timeout_s} s; is process 0 running, and its port open?"
    )
    os._exit(1)

  timer = threading.Timer(timeout_s, give_up)
  timer.daemon = True
  timer.start()
  try:
    jax.distributed.initialize(
      coordinator,
      num_processes,
      process_id,
      initialization_timeout=timeout_s + 60,
      heartbeat_timeout_seconds=_HEARTBEAT_S,
    )
  except (RuntimeError, ValueError) as error:
    raise UserError(f"--coordinator: {one_line(error)}") from error
  finally:
    timer.cancel()
  check_device()


def leave(code: int) -> NoReturn:
  """Ends this process after a failure, without waiting for the others.

  They learn of it when its heartbeat stays out. Process 0, with whom they all
  would go down, gives them time to say what they found wrong themselves.

  Args:
    code: exit status.
  """
  if jax.distributed.is_initialized():
    if is_first():
      time.sleep(_LAST_WORDS_S)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)


def is_first() -> bool:
  """Whether this is process 0, which evaluates and writes results."""
  return jax.process_index() == 0


def say(text: str) -> None:
  """Tells the user what is being done; of several processes the first does."""
  if is_first():
    print(text, file=sys.stderr, flush=True)


def own_share(items: Sequence) -> list:
  """Those of the items that fall to this process."""
  return list(items)[jax.process_index() :: jax.process_count()]


def barrier(name: str) -> None:
  """Waits until every process has come here.

  Args:
    name: what is waited for; each barrier has a name of its own.

  Raises:
    UserError: another process has ended.
  """
  if jax.process_count() == 1:
    return
  errors = []

  def wait_for_others():
    try:
      multihost.get_barrier_sync_fn()(key=name, timeout_ms=_BARRIER_MS)
    except RuntimeError as error:
      errors.append(error)

  # In a thread of its own: it does not come back for signals.
  thread = threading.Thread(target=wait_for_others, daemon=True)
  thread.start()
  while thread.is_alive():
    thread.join(0.2)
  for error in errors:
    raise UserError(
      f"process {jax.process_index()}: another process has ended "
      f"({one_line(error)})"
    ) from error


def check_device() -> None:
  """Raises `UserError` where JAX has no device, or computes wrongly on it."""
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:
    asked = os.environ.get("JAX_PLATFORMS")
    reason = one_line(error) if str(error) else "its backend did not start"
    raise UserError(
      f"JAX_PLATFORMS={asked}: there is no such device here ({reason})"
    ) from error
  check_compiler()
