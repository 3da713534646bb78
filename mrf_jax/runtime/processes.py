"""Several processes, on one host or many, that share one experiment.

Each process has its own devices; all use one workdir. They exchange no data
and only wait for each other at barriers, because folds are independent.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import jax

from mrf_jax.errors import UserError, one_line
from mrf_jax.runtime.cluster import in_cluster
from mrf_jax.runtime.compiler_check import check_compiler

# A week: process 0 may evaluate for long while the others wait for it.
_BARRIER_MS = 7 * 24 * 3600 * 1000
# A process that sends no heartbeat for so long counts as dead.
_HEARTBEAT_S = 60
# Time for the other processes to print their own error, when process 0 fails.
_GRACE_S = 5


def start(
  coordinator: str | None,
  num_processes: int | None,
  process_id: int | None,
  *,
  cpu_devices: int = 1,
  timeout_s: int,
  say_error: Callable[[str], Any],
) -> None:
  """Connects this process to the others, if there are any, and starts JAX.

  Args:
    coordinator: host:port of process 0. This and the next two are given
      together or not at all; None takes them from the cluster's environment,
      and outside of a cluster this process is the only one.
    num_processes: number of processes, or None.
    process_id: number of this process, from 0, or None.
    cpu_devices: devices that JAX makes of the cores of this process, unless the
      environment says how many; see `devices_for_folds`. Accelerators are not
      divided.
    timeout_s: longest time to wait for the others, s.
    say_error: prints one line for the user; the program ends after it.

  Raises:
    UserError: only some of the first three arguments are given, one of them is
      not valid, or JAX finds no device.
  """
  given = {
    "--coordinator": coordinator,
    "--num_processes": num_processes,
    "--process_id": process_id,
  }
  _divide_cores(cpu_devices)
  missing = [name for name, value in given.items() if value is None]
  if len(missing) == len(given):
    if not in_cluster():
      check_device()
      return
  elif missing:
    raise UserError(
      f"{', '.join(missing)} missing; {', '.join(given)} are given together"
    )
  elif num_processes < 1 or not 0 <= process_id < num_processes:  # type: ignore
    raise UserError(
      f"--process_id is {process_id}, --num_processes {num_processes}; "
      "processes are numbered from 0"
    )
  elif ":" not in str(coordinator):
    raise UserError(f"--coordinator={coordinator} is not host:port")

  # Earlier than JAX's own timeout, which aborts the process with a trace.
  def give_up():
    where = coordinator or "the cluster's coordinator"
    say_error(
      f"--coordinator: {where}: not all processes connected within "
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


def devices_for_folds(n_folds: int) -> int:
  """Devices that the cores of a CPU are divided into, to train so many folds.

  A step of a small network keeps one core busy, so that folds are trained
  beside each other. No device waits longer than if there were one a core.
  """
  n_folds = max(1, n_folds)
  rounds = -(-n_folds // min(n_folds, os.cpu_count() or 1))
  return -(-n_folds // rounds)


def _divide_cores(cpu_devices: int) -> None:
  """Makes several devices of the cores, unless the environment does."""
  said = "JAX_NUM_CPU_DEVICES" in os.environ
  said |= "xla_force_host_platform_device_count" in os.environ.get(
    "XLA_FLAGS", ""
  )
  if cpu_devices > 1 and not said:
    jax.config.update("jax_num_cpu_devices", cpu_devices)


def leave(code: int) -> NoReturn:
  """Ends this process after a failure, without waiting for the others.

  The others notice that its heartbeat stops. They would all end with process
  0, which therefore waits a moment, until they have printed their own errors.
  """
  if jax.distributed.is_initialized():
    if is_first():
      time.sleep(_GRACE_S)
    sys.stdout.flush()
    sys.stderr.flush()
    # An ordinary exit would wait for the others while JAX shuts down.
    os._exit(code)
  sys.exit(code)


def is_first() -> bool:
  """True in process 0, which evaluates and writes results."""
  return jax.process_index() == 0


def say(text: str) -> None:
  """Prints a line on what is being done; only process 0 prints it."""
  if is_first():
    print(text, file=sys.stderr, flush=True)


def own_share(items: Sequence) -> list:
  """The items that this process works on: every n-th of n processes."""
  return list(items)[jax.process_index() :: jax.process_count()]


def barrier(name: str) -> None:
  """Waits until every process has reached the barrier of this unique name.

  Raises:
    UserError: another process has ended.
  """
  if jax.process_count() == 1:
    return
  from orbax.checkpoint import multihost

  errors = []

  def wait_for_others():
    try:
      multihost.get_barrier_sync_fn()(key=name, timeout_ms=_BARRIER_MS)
    except RuntimeError as error:
      errors.append(error)

  # In a thread of its own, because the call does not return for a signal.
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
  """Raises `UserError` if JAX has no device, or wrong results on it."""
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:
    platforms = os.environ.get("JAX_PLATFORMS")
    reason = one_line(error) if str(error) else "its backend did not start"
    raise UserError(
      f"JAX_PLATFORMS={platforms}: there is no such device here ({reason})"
    ) from error
  check_compiler()
