"""The end of a session: the largest differences that it saw."""

from typing import Any

import ledger


def pytest_terminal_summary(terminalreporter: Any) -> None:
    seen = ledger.LARGEST
    kernel = [f"{dtype} max {seen[dtype]:.1e}" for dtype in ("float64", "float32") if dtype in seen]
    lines = []
    if kernel:
        networks = f"{len(ledger.NETWORKS)} random networks"
        lines.append(f"kernel against reference: {networks}, {', '.join(kernel)}")
    if "mpmath" in seen:
        lines.append(f"reference against mpmath: max {seen['mpmath']:.1e}")
    if lines:
        terminalreporter.write_sep("-", "largest relative differences")
        for line in lines:
            terminalreporter.write_line(line)
