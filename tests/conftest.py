"""The end of a session: the largest differences that it saw."""

from typing import Any

import ledger
import pytest


def pytest_sessionfinish(session: Any) -> None:
    """Hand over what a process of pytest-xdist has seen."""
    if hasattr(session.config, "workeroutput"):
        largest = {name: float(difference) for name, difference in ledger.LARGEST.items()}
        seen = largest, [repr(network) for network in ledger.NETWORKS]
        session.config.workeroutput["ledger"] = seen


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what such a process has seen."""
    largest, networks = getattr(node, "workeroutput", {}).get("ledger", ({}, []))
    ledger.NETWORKS.update(networks)
    for name, difference in largest.items():
        ledger.LARGEST[name] = max(ledger.LARGEST[name], difference)


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
