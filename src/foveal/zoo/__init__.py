"""The small trained models that ship inside the package, found by name; no network is asked."""

from pathlib import Path

__all__ = ["find_model", "list_models", "model_path", "model_summary"]

_HERE = Path(__file__).parent


def list_models() -> list[str]:
    """The names of the models that ship, sorted."""
    return sorted(path.parent.name for path in _HERE.glob("*/config.json"))


def model_path(name: str) -> Path:
    """The folder of a shipped model; ValueError naming what ships when there is none of that name.

    >>> model_path("gpt-9")
    Traceback (most recent call last):
    ValueError: There is no shipped model 'gpt-9'; ...
    """
    if name not in (shipped := list_models()):
        raise ValueError(f"There is no shipped model {name!r}; what ships is: {', '.join(shipped) or 'none yet'}.")
    return _HERE / name


def find_model(name_or_path: str) -> str:
    """Where a model is: the folder of a shipped one, a folder as it is given, or a name of the hub ("owner/name").

    ValueError for anything else, naming what ships, and for a folder that holds no model.
    """
    if name_or_path in list_models():
        return str(model_path(name_or_path))
    if (folder := Path(name_or_path)).is_dir():
        if not (folder / "config.json").is_file():
            raise ValueError(f"The folder {name_or_path} holds no model: it has no config.json.")
        return name_or_path
    if name_or_path.count("/") == 1 and not name_or_path.startswith((".", "/", "~")) and not name_or_path.endswith("/"):
        return name_or_path
    shipped = ", ".join(list_models()) or "none yet"
    raise ValueError(f"There is no model {name_or_path!r}; shipped are: {shipped}. A folder, or a hub name like owner/model, is taken too.")


def model_summary(name: str) -> str:
    """The first sentence in prose of a shipped model's card, or an empty string where it has no card."""
    card = model_path(name) / "README.md"
    if not card.is_file():
        return ""
    text = card.read_text(encoding="utf-8")
    if text.startswith("---"):  # the card's metadata
        text = text.split("---", 2)[-1]
    prose = (" ".join(block.split()) for block in text.split("\n\n") if block.strip() and block.strip()[0] not in "#|`<![>-")
    return next(prose, "").partition(". ")[0].rstrip(".")
