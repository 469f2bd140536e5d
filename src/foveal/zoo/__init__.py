"""The small trained models that ship inside the package, found by name; no network is asked."""

from pathlib import Path

__all__ = ["list_models", "model_path", "model_summary"]

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
