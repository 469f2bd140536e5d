"""What the pages say is so: their code runs, their commands exist, their links lead somewhere, and the examples run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks/README.md", ROOT / "examples/pictures/README.md")
    if path.is_file()
]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")

with_model = pytest.mark.skipif(
    not any((ROOT / "src/foveal/zoo/ferret-v2-nano").glob("*.safetensors")),
    reason="src/foveal/zoo/ferret-v2-nano holds no weights yet: recipes/nano.py makes them",
)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder to run in that has the examples, and takes what is written."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


@with_model
@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(re.findall(r"```python\n", README))))
def test_the_readmes_code_runs(number: int, elsewhere: Path) -> None:
    block = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[number]
    assert _run([sys.executable, "-c", block], elsewhere).strip(), "printed nothing"


@with_model
@pytest.mark.slow
@pytest.mark.parametrize("command", re.findall(r"^foveal (?!serve).+$", README, re.MULTILINE))  # a server ends when it is told to: tests/serve
def test_the_readmes_commands_run(command: str, elsewhere: Path) -> None:
    said = _run([sys.executable, "-m", "foveal", *shlex.split(command)[1:]], elsewhere)
    assert said.strip(), "printed nothing"


@with_model
@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_run(path: Path, elsewhere: Path) -> None:
    assert _run([sys.executable, str(path)], elsewhere).strip(), "printed nothing"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if not (path.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_make_command_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+(?:-[a-z]+)*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`|&& )make ([a-z]+(?:-[a-z]+)*)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= targets, f"{named - targets} is no target of the Makefile"


def test_the_tree_of_the_readme_is_the_tree() -> None:
    tree = README.partition("## What is where")[2].partition("```\n")[2].partition("```")[0]
    missing = []
    for line in tree.splitlines():
        name = line.split()[0]
        if not ((ROOT / "src/foveal" if line.startswith("  ") else ROOT) / name).exists():
            missing.append(name)
    assert not missing


def _run(command: list[str], folder: Path) -> str:
    """What a command prints, run in `folder` without a network."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
