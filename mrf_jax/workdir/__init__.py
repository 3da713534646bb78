"""The folder of an experiment: paths, configuration, manifest and lock.

`environment` is imported from its own file, whose name it shares.
"""

import lazy_loader

# Lazily: the flags import the lock before JAX starts.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
