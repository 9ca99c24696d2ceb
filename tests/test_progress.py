"""Signs of life: on a terminal, in a notebook, in a pipe, with tqdm and without."""

import json
import os
import re
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from shutil import which

import pytest

import fastbp
from fastbp.kernels.machine import unit

pty = pytest.importorskip("pty")

FIT = """
import sys, time
if "without" in sys.argv:
    sys.modules["tqdm"] = None
import numpy as np, fastbp
X = np.column_stack([np.linspace(-1.0, 1.0, 40), np.ones(40)])
net = fastbp.Network(2, 3, output="identity")

def fit(seconds=1.5, epochs=30, **options):
    def wait(state):
        time.sleep(seconds / epochs)
    call = fastbp.fit_many if "seeds" in options else fastbp.fit
    return call(net, X, X[:, 0], optimizer="adam", epochs=epochs, callback=wait, **options)
"""
AT_ONCE = "import fastbp._training.progress as p; p._SILENT = 60.0; fit(0.1); fit(0.1, seeds=2)"
BAR = r"^step +(\d+)%\|.*\| +(\d+)/30 \d\d:\d\d<.*, loss [\d.e-]+, validation loss [\d.e-]+"
LINE = r"^step (\d+) of 30: loss [\d.e-]+, validation loss [\d.e-]+"
CHOOSE = "x = 3.0 * X[:, 0]; t = np.sin(x); fastbp.fit(net, X, t, l2='auto', progress=True);"
CHOICE = r", l2 [\d.e-]+, l2 [\d.e-]+ is chosen"
needs_tqdm = pytest.mark.skipif(not find_spec("tqdm"), reason="needs tqdm")


def on_terminal(code, *words, size=(24, 100), term="xterm"):
    """Run a script whose standard error is a terminal; return the lines as they were written."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    environment = os.environ | {"TERM": term, "PYTHONIOENCODING": "utf-8", "FASTBP_QUIET": "1"}
    environment.pop("COLUMNS", None)
    words = [sys.executable, "-c", FIT + code, *words]
    with subprocess.Popen(words, stderr=theirs, stdout=subprocess.PIPE, env=environment) as child:
        os.close(theirs)
        written = b""
        while True:
            try:
                some = os.read(ours, 65536)
            except OSError:  # Linux's way to say that the other end is closed
                break
            if not some:
                break
            written += some
        assert not child.stdout.read()
    os.close(ours)
    assert child.returncode == 0, written
    return written.decode()


@needs_tqdm
@pytest.mark.skipif(not which("tmux"), reason="needs tmux")
@pytest.mark.parametrize("columns", [120, 60])
def test_what_stays_on_the_screen(columns, tmp_path):
    """A line for each fit, where the window is narrow too."""
    script = tmp_path / "script.py"
    script.write_text(FIT + "fit(validation=0.2); fit(seeds=3)")
    tmux = ["tmux", "-S", str(tmp_path / "socket"), "-f", os.devnull]
    command = f"{sys.executable} {script}; {' '.join(tmux)} wait-for -S done; sleep 60"
    window = ["new-session", "-d", "-x", str(columns), "-y", "24", command]
    environment = os.environ | {"FASTBP_QUIET": "1", "LC_ALL": "C.UTF-8"}
    subprocess.run([*tmux, *window], env=environment, check=True)
    try:
        subprocess.run([*tmux, "wait-for", "done"], check=True, timeout=120)
        shown = subprocess.run([*tmux, "capture-pane", "-p"], check=True, capture_output=True)
    finally:
        subprocess.run([*tmux, "kill-server"], check=True)
    fit, many = filter(None, map(str.strip, shown.stdout.decode().splitlines()))
    assert fit.startswith("step 100%") and "30/30" in fit
    assert many.startswith("fit 100%") and "3/3" in many


def states(written):
    return [state.strip() for state in re.split(r"[\r\n]+", written) if state.strip()]


@needs_tqdm
@pytest.mark.parametrize("size", [(24, 140), (0, 0)])
def test_a_bar_on_a_terminal(size):
    written = on_terminal("fit(validation=0.2)", size=size)
    *running, last = states(written)
    assert len(running) > 3 and "\x1b" not in written and written.endswith("\r\n")
    done = [int(re.match(BAR, state)[2]) for state in running[1:] if "loss" in state]
    assert done == sorted(done) and done[0] < 30
    assert "100%" in last and re.search(r"\| 30/30 \d\d:\d\d, loss", last)
    if size[1]:
        assert last.endswith(", all epochs done")


@pytest.mark.parametrize(("words", "term"), [(["without"], "xterm"), ([], "dumb")])
def test_lines_on_a_terminal_that_has_no_bar(words, term):
    first, *_, last = states(on_terminal("fit(validation=0.2)", *words, term=term))
    assert int(re.match(LINE, first)[1]) < 30
    assert last.startswith("step 30 of 30: ") and ", all epochs done, " in last


def test_nothing_is_shown_of_what_is_done_at_once_or_not_to_be_shown():
    assert on_terminal(f"{AT_ONCE}; fit(1.2, progress=False)") == ""


@needs_tqdm
def test_an_error_ends_the_line():
    code = """
def stop(state):
    time.sleep(0.06)
    if state.step == 25:
        raise ValueError
try:
    fastbp.fit(net, X, X[:, 0], optimizer="adam", epochs=30, callback=stop)
except ValueError:
    print("after", file=sys.stderr)
"""
    written = on_terminal(code)
    *_, last, after = states(written)
    assert "25/30" in last and after == "after"


@needs_tqdm
def test_fit_many_counts_its_fits():
    *_, last = states(on_terminal("fit(seeds=3, threads=1, seconds=0.6)"))
    assert re.match(r"fit 100%\|.*\| 3/3 .*least loss [\d.e-]+$", last)
    first, *_, last = states(on_terminal("fit(seeds=3, threads=1, seconds=0.6)", "without"))
    assert re.match(r"fit [12] of 3: least loss [\d.e-]+, \d+\.\d s$", first)
    assert re.match(r"fit 3 of 3: least loss [\d.e-]+, \d+\.\d s$", last)


@needs_tqdm
def test_a_choice_has_one_bar_over_its_fits_and_the_fit_another():
    written = states(on_terminal(CHOOSE))
    of_choice = [state for state in written if state.startswith("choosing, fit")]
    of_fit = [state for state in written if state.startswith("step ")]
    assert written == of_choice + of_fit
    assert re.search(r"\d:\d\d<.*, l2 (of a line )?[\d.e+-]+$", of_choice[1])
    assert re.search(rf"\| \d+/\d+ \d\d:\d\d{CHOICE}$", of_choice[-1])
    assert re.search(r"\| \d+/\d+ \d\d:\d\d, loss", of_fit[-1])


def test_a_choice_in_a_pipe_has_lines():
    estimator = """
from fastbp.sklearn import NetworkRegressor
NetworkRegressor(n_neurons="auto", verbose=True).fit(X[:, :1], t)
"""
    code = FIT + CHOOSE + (estimator if find_spec("sklearn") else "")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    of_choice = [line for line in done.stderr.splitlines() if line.startswith("choosing, fit ")]
    chosen = [line for line in of_choice if " chosen" in line]
    assert re.match(rf"choosing, fit \d+ of \d+: {CHOICE[2:]}, \d+\.\d s$", chosen[0])
    if find_spec("sklearn"):
        assert re.search(r": neurons \d+, l2 .*, \d+ neurons and l2 \S+ are chosen, ", chosen[1])


def test_a_pipe_has_lines_where_they_are_asked_for():
    code = FIT + "fit(0.1); fit(seeds=2, seconds=0.1); fit(0.5, validation=0.2, progress=True)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, *_, last = done.stderr.splitlines()
    assert not done.stdout and re.match(LINE, first) and re.match(LINE, last)


def test_a_terminal_that_is_gone_ends_no_fit():
    code = FIT + "sys.stderr.close(); fit(0.3, progress=True); sys.stderr = None; "
    code += "print(len(fit(0.3, progress=True).history['loss']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "30\n"


def test_a_stream_that_only_writes_is_one(monkeypatch):
    """As those that write to a log in place of standard error."""

    class Log:
        def __init__(self, terminal):
            self.lines = []
            if terminal:
                self.isatty = lambda: True

        def write(self, text):
            self.lines.append(text)

    for terminal in (False, True):
        monkeypatch.setattr(sys, "stderr", Log(terminal))
        for progress in ("auto", True):
            fastbp.fit(fastbp.Network(1, 1), [[1.0], [2.0]], [0.0, 0.5], l2=0.1, progress=progress)
        assert "converged" in "".join(sys.stderr.lines)


@pytest.mark.parametrize(("reader", "times"), [("terminal", 1), ("notebook", 1), ("nobody", 0)])
def test_compilation_says_so_once_to_who_reads(reader, times, monkeypatch, capsys):
    monkeypatch.setattr(unit, "_said", False)
    monkeypatch.setattr(unit.screen, "reader", lambda: reader)
    monkeypatch.delenv("FASTBP_QUIET", raising=False)
    for _ in range(3):
        unit._say_once()
    assert capsys.readouterr().err.count("fastbp: compiling for this machine") == times


def test_progress_that_is_none(capsys):
    net = fastbp.Network(1, 1)
    for call in (fastbp.fit, fastbp.fit_many):
        with pytest.raises(ValueError, match="progress must be True, False or \"auto\"; got 'yes'"):
            call(net, [[1.0], [2.0]], [0.0, 0.0], progress="yes")


NOTEBOOK = """
import json, sys
import nbclient, nbformat
cells = [nbformat.v4.new_code_cell(text) for text in json.load(sys.stdin)]
notebook = nbformat.v4.new_notebook(cells=cells)
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
print(json.dumps([cell.outputs for cell in notebook.cells]))
"""


@needs_tqdm
def test_a_notebook_has_one_bar_a_fit():
    """Its last state stays; nothing moves a cursor, and nothing needs a widget to be seen."""
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [
        textwrap.dedent(FIT),
        "fit(validation=0.2);",
        "fit(seeds=3, threads=1, seconds=0.6);",
        CHOOSE,
        "sys.modules['tqdm'] = sys.modules['tqdm.std'] = None\nfit(validation=0.2);",
        f"{AT_ONCE}; fit(1.2, progress=False);",
    ]
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK],
        input=json.dumps(cells),
        capture_output=True,
        text=True,
        env=os.environ | {"FASTBP_QUIET": "1"},
    )
    assert done.returncode == 0, done.stderr
    _, bar, many, choice, line, none = json.loads(done.stdout)
    shown = []
    assert len(choice) == 2  # and the fit by it
    for output in (*bar, *many, *line, choice[0]):
        assert output["output_type"] == "display_data" and list(output["data"]) == ["text/plain"]
        shown.append(output["data"]["text/plain"])
    assert re.match(r"step 100%\|█+\| 30/30 \d\d:\d\d, loss .*, all epochs done$", shown[0])
    assert re.match(r"fit 100%\|█+\| 3/3 .*, least loss [\d.e-]+$", shown[1])
    assert re.match(rf"choosing, fit +\d+%\|.*\| \d+/\d+ \d\d:\d\d{CHOICE}$", shown[3])
    assert re.match(LINE, shown[2]) and ", all epochs done, " in shown[2]
    assert none == []
