"""MR fingerprinting reconstruction in JAX.

The public names stand in `__init__.pyi`; each is imported when it is used, so
that a command with a bad flag ends before JAX is awake.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
