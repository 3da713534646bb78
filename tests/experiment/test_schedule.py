"""What is said of a schedule that simulated heads are scanned with."""

from configs import smoke
from mrf_jax.experiment.settings import schedule_in_words


def words_of(path, text):
  path.write_text(text + "\n" + "\n".join(f"{10 + k % 50}" for k in range(60)))
  options = smoke.get_config().sequence
  options.update(path=str(path), n_frames=60)
  return schedule_in_words(options)


def test_what_a_file_leaves_open_is_said(tmp_path):
  path = tmp_path / "train.txt"
  summary, assumed = words_of(path, "flip_angle_deg")
  assert summary.startswith(f"schedule {path}: 60 frames in 0.9 s")
  assert "inversion 20 ms" in summary and "TR 15 ms" in summary
  assert assumed == (
    f"{path} does not say all of it; assumed: tr_ms 15, te_ms 2, "
    "inversion_time_ms 20"
  )


def test_what_a_file_says_is_not_assumed(tmp_path):
  _, assumed = words_of(tmp_path / "train.txt", "# inversion_time_ms none")
  assert "inversion" not in assumed and "tr_ms 15" in assumed


def test_schedules_of_our_own_say_nothing():
  assert schedule_in_words(smoke.get_config().sequence) == []
