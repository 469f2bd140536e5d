"""The rules of the house: which part may know which, how long a function and a file may be, what no file may hold."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "foveal"
LIBRARY = sorted(PACKAGE.rglob("*.py"))
CODE = [*LIBRARY, *(path for folder in ("benchmarks", "examples", "recipes", "tests") for path in sorted((ROOT / folder).rglob("*.py")))]

ALL = {"geometry", "grounding", "vision", "models", "data", "draw", "session", "train", "evaluate", "endpoint", "serve", "synth", "zoo", "cli"}
MAY_IMPORT = {
    "geometry": set(),
    "grounding": {"geometry"},
    "vision": {"geometry"},
    "models": {"vision", "grounding", "geometry"},
    "data": {"grounding", "geometry"},
    "draw": {"grounding", "geometry"},
    "zoo": set(),
    "endpoint": set(),
    "session": {"models", "data.images", "zoo", "grounding", "geometry"},
    "train": {"data", "models", "zoo", "grounding", "geometry"},
    "evaluate": {"data", "draw", "session", "endpoint", "grounding", "geometry"},
    "evaluate.metrics": {"grounding", "geometry"},
    "synth": {"data", "draw", "session", "endpoint", "grounding", "geometry"},
    "serve": {"data.images", "data.remote", "draw", "models", "session", "grounding", "geometry"},
    "cli": ALL,
    "": ALL,
}
WITHOUT_TORCH = ("geometry", "grounding", "draw", "evaluate.metrics")
LONGEST_FUNCTION, LONGEST_FILE = 60, 400


def _each(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.relative_to(ROOT).as_posix())


@_each(LIBRARY)
def test_a_part_imports_only_what_lies_below_it(path: Path) -> None:
    part = _part(path)
    allowed = next(names for key, names in sorted(MAY_IMPORT.items(), reverse=True) if key == "" or _within(part, key))
    own = part.partition(".")[0]
    for name in _imports(path):
        if name.startswith("foveal.") and not name.startswith("foveal.__"):
            below = name.removeprefix("foveal.")
            assert _within(below, own) or any(_within(below, other) for other in allowed), f"{part or 'foveal'} imports {name}"


@_each(LIBRARY)
def test_geometry_and_words_need_no_torch(path: Path) -> None:
    if any(_within(_part(path), quiet) for quiet in WITHOUT_TORCH):
        heavy = [name for name in _imports(path) if name.partition(".")[0] in {"torch", "transformers"}]
        assert not heavy, f"{heavy} imported where numbers and words are enough"


@_each(LIBRARY)
def test_image_files_enter_by_one_door(path: Path) -> None:
    opened = [node.lineno for node in ast.walk(_tree(path)) if isinstance(node, ast.Attribute) and ast.unparse(node) == "Image.open"]
    assert not opened or _part(path) == "data.images" or _within(_part(path), "data.sources"), f"opens an image in line {opened}"


@_each(CODE)
def test_no_function_and_no_file_is_long(path: Path) -> None:
    lines = path.read_text().count("\n")
    assert lines <= LONGEST_FILE, f"{lines} lines: wanted at most {LONGEST_FILE}"
    for function in _functions(path):
        body = _body_lines(function)
        assert body <= LONGEST_FUNCTION, f"{function.name} has {body} lines: wanted at most {LONGEST_FUNCTION}"


@_each(CODE)
def test_a_file_says_first_what_it_is_for(path: Path) -> None:
    said = ast.get_docstring(_tree(path)) or ""
    first = said.partition("\n")[0]
    assert path.read_text().startswith(('"""', 'r"""')) and first.endswith((".", "!", "?")), f"opens with {first!r}: wanted one sentence"


@_each(LIBRARY)
def test_every_signature_is_annotated(path: Path) -> None:
    for function in _functions(path):
        given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        extra = [argument for argument in (function.args.vararg, function.args.kwarg) if argument]
        bare = [argument.arg for argument in [*given, *extra] if argument.annotation is None and argument.arg not in ("self", "cls")]
        assert not bare, f"{function.name}: {bare} without annotation"
        assert function.returns is not None, f"{function.name}: no annotation of what it returns"


@_each(LIBRARY)
def test_every_public_thing_says_what_it_does(path: Path) -> None:
    for node in _tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


@_each(LIBRARY)
def test_nothing_is_left_for_later_and_nothing_outside_is_named(path: Path) -> None:
    left = re.findall(r"\bTODO\b|\bFIXME\b|\bXXX\b|\bHACK\b|NotImplementedError|set_trace|breakpoint\(|/work/|\.\./shared", path.read_text())
    assert not left, f"holds {left}"


@_each(CODE)
def test_names_say_the_thing(path: Path) -> None:
    assert not re.search(r"utils?|common|misc|helpers?", path.stem), f"{path.stem} says nothing of what is in the file"
    vague = [
        node.name for node in ast.walk(_tree(path)) if isinstance(node, ast.ClassDef) and re.search(r"(Manager|Handler|Helper|Util)s?$", node.name)
    ]
    assert not vague, f"{vague} say nothing of what they do"


def test_nothing_stands_twice() -> None:
    """Less than 3 % of the code lines stand, word for word, in a run of six or more lines that is found elsewhere too."""
    seen: dict[tuple[str, ...], list[tuple[Path, int]]] = {}
    total, repeated = 0, set()
    for path in LIBRARY:
        lines = list(_code_lines(path))
        total += len(lines)
        for start in range(len(lines) - 5):
            seen.setdefault(tuple(lines[start : start + 6]), []).append((path, start))
    for places in seen.values():
        if len(places) > 1:
            repeated.update((path, start + step) for path, start in places for step in range(6))
    share = len(repeated) / max(1, total)
    assert share < 0.03, f"{share:.1%} of {total} lines, in {sorted({path.name for path, _ in repeated})}"


def _part(path: Path) -> str:
    """`models.ferret.config` for src/foveal/models/ferret/config.py; a package is its `__init__`."""
    return ".".join(part for part in path.relative_to(PACKAGE).with_suffix("").parts if part not in ("__init__", "__main__"))


def _within(name: str, part: str) -> bool:
    return name == part or name.startswith(part + ".")


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def _imports(path: Path) -> Iterator[str]:
    """Full names of what is imported anywhere in the file, within functions too."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}, line {node.lineno}: wanted an absolute import"
            module = node.module or ""
            yield from (f"foveal.{alias.name}" for alias in node.names) if module == "foveal" else [module]


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(_tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[1] if ast.get_docstring(function) and len(function.body) > 1 else function.body[0]
    return (function.end_lineno or 0) - first.lineno + 1


def _code_lines(path: Path) -> Iterator[str]:
    """Lines of code, stripped; without blank lines, comments, imports, the list of exports and docstrings."""
    tree, quiet = _tree(path), set()
    for node in ast.walk(tree):
        exports = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        documents = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if exports or documents or isinstance(node, ast.Import | ast.ImportFrom):
            quiet.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if number not in quiet and line.strip() and not line.strip().startswith("#"):
            yield line.strip()
