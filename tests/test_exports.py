"""What a module shows is what it says it shows: `__all__` is there, in order, and complete."""

import ast
import importlib
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
MODULES = sorted(path for path in (SOURCE / "foveal").rglob("*.py") if path.stem != "__main__")


def _name(path: Path) -> str:
    return ".".join(part for part in path.relative_to(SOURCE).with_suffix("").parts if part != "__init__")


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_all_is_in_order_and_equals_the_public_names(path: Path) -> None:
    tree = ast.parse(path.read_text())
    exported = _exported(tree)
    assert exported is not None, "no __all__"
    assert exported == sorted(exported, key=_place), f"wanted {sorted(exported, key=_place)}"
    public = {name for name in _defined(tree, package=path.stem == "__init__") if not name.startswith("_")}
    assert set(exported) - {"__version__"} == public, f"differ in {set(exported) ^ public}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_every_exported_name_is_there(path: Path) -> None:
    module = importlib.import_module(_name(path))
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert not missing


def _place(name: str) -> tuple[int, str]:
    """Constants first, then classes, then functions, each by the alphabet: the order that ruff (RUF022) keeps."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2), name


def _exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return None


def _defined(tree: ast.Module, *, package: bool) -> set[str]:
    """Names a module makes; a package's own names are also those it takes from its modules, lazily or at once."""
    names: set[str] = set()
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Assign():
                names.update(part.id for target in node.targets for part in ast.walk(target) if isinstance(part, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.ImportFrom(module=str(module)) if package and module.startswith("foveal"):
                names.update(alias.asname or alias.name for alias in node.names)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")) if package:
                names.update(alias.asname or alias.name for part in node.body if isinstance(part, ast.ImportFrom) for alias in part.names)
    return names
