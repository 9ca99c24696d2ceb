"""Processors by LLVM's names, and of their features those that decide how wide vectors are.

Nothing here reads the environment: `precompile` looks here before it says what it compiles for.
"""

_AVX2, _AVX512 = "+avx2,+fma", "+avx2,+fma,+avx512f"
PROCESSORS = {
    **dict.fromkeys(("generic", "x86-64", "x86-64-v2", "nehalem"), ""),
    **dict.fromkeys(("haswell", "broadwell", "skylake", "x86-64-v3"), _AVX2),
    **dict.fromkeys(("znver1", "znver2", "znver3"), _AVX2),
    **dict.fromkeys(("skylake-avx512", "cascadelake", "icelake-server"), _AVX512),
    **dict.fromkeys(("sapphirerapids", "x86-64-v4", "znver4", "znver5"), _AVX512),
}
WITH_256_BITS = frozenset(name for name, features in PROCESSORS.items() if features == _AVX2)
