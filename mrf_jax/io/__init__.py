"""File formats, atomic writing, and the guard in front of untrusted files."""
