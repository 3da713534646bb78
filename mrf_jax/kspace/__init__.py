"""From k-space to images: NUFFT, trajectories, gridding and coils."""
