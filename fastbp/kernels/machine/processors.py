"""Processors by LLVM's names, and of their features those that decide how wide vectors are.

Nothing here reads the environment: `precompile` looks here before it says what it compiles for.
"""

_AVX2, _AVX512 = "+avx2,+fma", "+avx2,+fma,+avx512f"
PROCESSORS = {
    "generic": "",
    "x86-64": "",
    "x86-64-v2": "",
    "nehalem": "",
    "haswell": _AVX2,
    "broadwell": _AVX2,
    "skylake": _AVX2,
    "x86-64-v3": _AVX2,
    "znver1": _AVX2,
    "znver2": _AVX2,
    "znver3": _AVX2,
    "skylake-avx512": _AVX512,
    "cascadelake": _AVX512,
    "icelake-server": _AVX512,
    "sapphirerapids": _AVX512,
    "x86-64-v4": _AVX512,
    "znver4": _AVX512,
    "znver5": _AVX512,
}
WITH_256_BITS = frozenset(name for name, features in PROCESSORS.items() if features == _AVX2)
