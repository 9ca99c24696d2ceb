"""The pages in docs: their scripts run, their links lead somewhere, their names exist."""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from test_architecture import FLOORS, PACKAGE

import fastbp
from fastbp import reference

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
MADE = (DOCS / "gallery", DOCS / "reference" / "generated")  # by Sphinx
PAGES = {
    page.relative_to(DOCS).as_posix(): page
    for page in sorted(DOCS.rglob("*.md"))
    if not any(folder in page.parents for folder in MADE)
}
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
FOR_DEVELOPERS = (PAGES["architecture.md"], CONTRIBUTING)
ALONE = ("compiled.md",)  # its scripts stand each by itself; tests/test_functions.py runs them


def text_of(name):
    return PAGES[name].read_text(encoding="utf-8")


def scripts_of(name):
    """Return the blocks that run: those of ```py are not run."""
    return re.findall(r"^```python\n(.*?)^```$", text_of(name), re.MULTILINE | re.DOTALL)


WITH_SCRIPTS = [name for name in PAGES if name not in ALONE and scripts_of(name)]


def test_pages_with_scripts_are_found():
    assert {"training.md", "mathematics.md", "start/sharp_bits.md", "from/r.md"} <= set(
        WITH_SCRIPTS
    )


@pytest.mark.parametrize("name", WITH_SCRIPTS)
def test_scripts_run_in_order_without_a_warning(name, tmp_path):
    blocks = scripts_of(name)
    script = tmp_path / "script.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    assert_runs(script, tmp_path)


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_examples_run_without_a_warning(script, tmp_path):
    assert_runs(script, tmp_path)


def assert_runs(script, folder):
    done = subprocess.run(
        [sys.executable, "-W", "error", script],
        # matplotlib's backend that shows nothing, and does not warn of it.
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", "MPLBACKEND": "template"},
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", [*PAGES.values(), CONTRIBUTING], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", text):
        path = (page.parent / target).resolve()
        if path.parent == DOCS / "gallery":  # Sphinx makes it of an example
            assert path.stem == "index" or DOCS / "examples" / f"{path.stem}.py" in EXAMPLES, target
        else:
            assert path.exists(), target
    for target in re.findall(r"^:link: (\S+)", text, re.MULTILINE):
        path = page.parent / f"{target}.md"
        example = DOCS / "examples" / f"{path.stem}.py"
        made = path.parent.name == "gallery" and (path.stem == "index" or example in EXAMPLES)
        assert made or path.exists(), target


def test_every_page_is_in_the_contents():
    """A page that no table of contents has is found by the search only."""
    for name, page in PAGES.items():
        if page.stem == "index" or name.endswith(".part.md"):
            continue
        contents = (
            DOCS / folder / "index.md"
            for folder in ("", "start", "from", "understand", "reference")
        )
        entries = (
            (index.parent / entry).resolve()
            for index in contents
            for block in re.findall(
                r"^```{toctree}\n(.*?)^```", index.read_text("utf-8"), re.M | re.S
            )
            for entry in block.split()
        )
        assert page.with_suffix("") in set(entries), f"{name}: no docs/**/index.md has it"


def test_every_public_name_is_in_the_reference():
    text = text_of("reference/index.md")
    modules = {"activations", "calculus", "datasets", "functions", "losses", "optimizers"}
    for name in {*fastbp.__all__} - modules:
        found = re.search(rf"^   {name}$|`fastbp\.{name}`", text, re.MULTILINE)
        assert found, f"docs/reference/index.md has no {name}"


def test_what_goes_by_name_is_listed():
    losses, of_activations = text_of("start/calls.md").split("## Losses\n")[1].split("## Activ")
    assert set(fastbp.losses.NAMES) <= set(re.findall(r"\w+", losses))
    assert set(fastbp.activations.NAMES) <= set(re.findall(r"\w+", of_activations))


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.stem)
def test_examples_have_a_title_and_a_picture(script):
    text = script.read_text(encoding="utf-8")
    title, line = text.splitlines()[1:3]
    assert text.startswith('"""\n') and set(line) == {"="} and len(line) == len(title)
    assert text.endswith("plt.show()\n")


def test_docutils_has_what_formulas_are_made_by():
    latex2mathml = pytest.importorskip("docutils.utils.math.latex2mathml")
    assert "<mi>x</mi>" in latex2mathml.tex2mathml(r"\frac{x}{2}", as_block=True)


@pytest.mark.parametrize("page", FOR_DEVELOPERS, ids=lambda page: page.name)
def test_files_for_developers_are_there_and_have_the_names(page):
    text = page.read_text(encoding="utf-8")
    files = re.findall(r"`([\w./]+\.py)`", text)
    assert len(files) >= 15
    paths = {
        file: next(filter(Path.is_file, (ROOT / file, PACKAGE / file)), None) for file in files
    }
    assert None not in paths.values(), paths
    # "`this` and `that` in `file`"
    for names, file in re.findall(r"((?:`\w+`(?:, | and )?)+)\s+in\s+`([\w./]+\.py)`", text):
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"\b{name}\b", paths[file].read_text(encoding="utf-8")), (name, file)


def test_picture_has_every_room_on_its_floor():
    picture = ElementTree.parse(ROOT / "docs" / "architecture.svg")
    texts = picture.iter("{http://www.w3.org/2000/svg}text")
    drawn = {}
    for text in texts:
        if text.get("class") == "room":
            drawn.setdefault(float(text.get("y")), []).append(text.text)
    assert tuple(tuple(drawn[y]) for y in sorted(drawn)) == FLOORS


def test_mathematics_names_what_exists_and_all_of_it():
    text = text_of("mathematics.md")
    named = set(re.findall(r"`reference\.(\w+)`", text))
    for name in named:
        assert hasattr(reference, name), name
    jacobians = {name for name in reference.__all__ if name.startswith("J_")}
    counted = {name for name in reference.__all__ if name.endswith("_layer")}
    assert jacobians | counted | {"L", "V", "M", "sigma", "vjp", "jvp", "hvp"} <= named
    where = r"`(\w+)`,?(?: both)? (?:in|of|by) \[\w+\.py\]\(\.\./([\w/]+\.py)\)"
    compiled = re.findall(where, text)
    assert len(compiled) >= 5
    for kernel, file in compiled:
        assert f"def {kernel}(" in (ROOT / file).read_text(encoding="utf-8"), kernel
    for number in range(3, 10):
        assert f"## Question {number}:" in text
    assert "## Questions 1 and 2:" in text
