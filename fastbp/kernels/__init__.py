"""The compiled core: imported only when a network is first evaluated, since it imports Numba."""
