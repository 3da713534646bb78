"""The packages of the wheel; everything else is in pyproject.toml.

The folder `configs` is installed as `mrf_jax.configs`: as a package of its own
it would stand in the way of a user's `configs`. pyproject.toml can place a
folder elsewhere, but only if it lists every package by hand.
"""

from setuptools import find_packages, setup

setup(
  packages=[*find_packages(include=["mrf_jax*"]), "mrf_jax.configs"],
  package_dir={"mrf_jax.configs": "configs"},
)
