"""Pulse sequences: what the scanner plays."""

import lazy_loader

# Lazily: files of this folder import each other, and not all need JAX.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
