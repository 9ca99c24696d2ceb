"""Uniform numbers of a seed: those of `numpy.random`, for few numbers without its import.

That takes 10 ms and 7 MiB, OpenSSL among them, of the start of a process whose machine code is
stored. NumPy promises that the numbers of a seed stay those of its `SeedSequence` and `PCG64`
(M. E. O'Neill: PCG: A family of simple fast space-efficient statistically good algorithms for
random number generation, HMC-CS-2014-0905, 2014); a test compares them.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ._lock import importing

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEW = 4096  # in Python a third of a microsecond each
_32, _64, _128 = (2**bits - 1 for bits in (32, 64, 128))


def uniform(seed: int | np.random.Generator | None, n: int) -> NDArray:
    """Return n numbers between -1 and 1: ``default_rng(seed).uniform(-1.0, 1.0, n)``."""
    return _of_whole(seed, n) if type(seed) is int and n <= _FEW else _drawn(seed, n)


def _drawn(seed: int | np.random.Generator | None, n: int) -> NDArray:
    return generator(seed).uniform(-1.0, 1.0, n)


def generator(seed: int | np.random.Generator | None, *numbers: int) -> np.random.Generator:
    """Return ``default_rng(seed)``, or with numbers that of the seed and these."""
    with importing():
        from numpy.random import default_rng

    try:
        if isinstance(seed, bool):
            raise TypeError
        return default_rng([seed, *numbers] if numbers else seed)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"seed must be an integer from 0 on, a numpy.random.Generator or None; got {seed!r}"
        ) from None


@lru_cache(maxsize=64)  # 30 to 50 µs, where many small fits begin with the same seed
def _of_whole(seed: int, n: int) -> NDArray:
    if seed < 0 or "numpy.random" in sys.modules:
        numbers = _drawn(seed, n)
    else:
        numbers = 2.0 * np.array(_pcg64(seed, n)) - 1.0
    numbers.flags.writeable = False
    return numbers


def _pcg64(seed: int, n: int) -> list[float]:
    """n numbers from 0 to 1, of 53 bits: those of ``default_rng(seed).random``."""
    words = _state(seed)
    start, stream = (words[k] << 64 | words[k + 1] for k in (0, 2))
    step = (stream << 1 | 1) & _128
    state = step + start
    numbers = []
    for k in range(n + 1):
        state = (state * 0x2360ED051FC65DA44385DF649FCCF645 + step) & _128
        if k:
            bits, turn = state >> 64 ^ state & _64, state >> 122
            bits = (bits >> turn | bits << 64 - turn) & _64
            numbers.append((bits >> 11) * 2.0**-53)
    return numbers


def _state(seed: int) -> list[int]:
    """``SeedSequence(seed).generate_state(4, np.uint64)``."""
    factor = 0x43B0D7E5

    def hashed(word: int, by: int = 0x931E8875) -> int:
        nonlocal factor
        word ^= factor
        factor = factor * by & _32
        word = word * factor & _32
        return word ^ word >> 16

    def mixed(x: int, y: int) -> int:
        word = (0xCA01F9DD * x - 0x4973F715 * y) & _32
        return word ^ word >> 16

    words = [seed >> shift & _32 for shift in range(0, max(seed.bit_length(), 128), 32)]
    pool = [hashed(word) for word in words[:4]]
    for source in range(4):
        for k in range(4):
            if k != source:
                pool[k] = mixed(pool[k], hashed(pool[source]))
    for word in words[4:]:
        pool = [mixed(own, hashed(word)) for own in pool]
    factor = 0x8B51F9DD
    halves = [hashed(word, 0x58F38DED) for word in pool * 2]
    return [low | high << 32 for low, high in zip(halves[::2], halves[1::2], strict=True)]
