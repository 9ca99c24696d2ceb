from ._objectives import Affine, Factorization, LeastSquares
