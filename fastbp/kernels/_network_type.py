"""Where Numba's indexes of users' ``cache=True`` functions of 0.1.0 look for the network's type.

Without it, unpickling such an index would be an error, and not a function compiled anew.
"""

from .._in_numba import NetworkType

__all__ = ["NetworkType"]
