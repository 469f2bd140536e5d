"""The card of a converted model: where its weights come from, and under whose licence they stand. That licence is theirs, never this library's."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import ModelCardData
from huggingface_hub.repocard import metadata_load

__all__ = ["Licence", "Part", "find_licence", "stated_licence", "write_card"]

_TEXTS = re.compile(r"(licen[cs]e|copying|notice|use_policy)(?!.*\.(json|py|safetensors|bin)$).*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Licence:
    """What weights may be used for: its name as their source gives it, where it can be read, and the files that hold its text."""

    name: str
    link: str = ""
    texts: tuple[Path, ...] = ()
    is_identifier: bool = False
    """Whether the name is one such as `cc-by-nc-4.0`, of those that model cards know; other names stand in the card as those of an `other`."""


@dataclass(frozen=True, slots=True)
class Part:
    """A published thing that went into a converted model: what it was there for, where it comes from, and its licence if it states one."""

    role: str
    origin: str
    licence: Licence | None


def find_licence(folder: Path) -> Licence | None:
    """The licence that a folder states: in the head of its README.md, or else in the first line of its licence file. None if it states none."""
    texts = tuple(sorted(file for file in folder.iterdir() if file.is_file() and _TEXTS.fullmatch(file.name))) if folder.is_dir() else ()
    try:
        head = (metadata_load(folder / "README.md") or {}) if (folder / "README.md").is_file() else {}
    except Exception as error:  # whatever a parser of other people's heads may raise
        raise ValueError(f"the head of {folder / 'README.md'} cannot be read: {str(error).splitlines()[0]}") from error
    name, link = str(head.get("license") or ""), str(head.get("license_link") or "")
    known = name not in ("", "other")
    if not known:
        name = str(head.get("license_name") or "") or (_first_line(texts[0]) if texts else "")
    return Licence(name, link, texts, is_identifier=known) if name else None


def stated_licence(said: str) -> Licence:
    """A licence as a person names it: an identifier, a sentence, or a file that holds its text. ValueError for nothing.

    >>> stated_licence("cc-by-nc-4.0").is_identifier, stated_licence("For research only.").is_identifier
    (True, False)
    """
    if not said.strip():
        raise ValueError("an empty licence was given; an identifier, a sentence or a file with its text is wanted.")
    try:
        is_file = Path(said).is_file()
    except OSError:  # longer than a path may be
        is_file = False
    if is_file:
        return Licence(_first_line(Path(said)), texts=(Path(said),))
    name = " ".join(said.split())
    return Licence(name, is_identifier=re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", name) is not None)


def write_card(folder: Path, title: str, body: str, parts: Sequence[Part]) -> None:
    """Writes `README.md`, headed by the licence of the first part, which must have one, and copies the texts of all licences beside it."""
    licence = parts[0].licence
    assert licence is not None
    head = ModelCardData(
        license=licence.name if licence.is_identifier else "other",
        license_name=None if licence.is_identifier else licence.name,
        license_link=licence.link or None,
        library_name="foveal",
        pipeline_tag="image-text-to-text",
        ignore_metadata_errors=True,
    )
    rows = ["| part | from | licence |", "|---|---|---|"]
    for number, part in enumerate(parts):
        copied = _copy_texts(folder, part, first=number == 0)
        rows.append(f"| {part.role} | {part.origin} | {_named(part.licence, copied)} |")
    words = (
        "These weights were converted, not trained, by foveal; converting changes nothing about who made them or what they may be used for. "
        "The licence of the foveal library does not apply to them: what applies is what their sources state."
    )
    text = f"---\n{head.to_yaml()}\n---\n\n# {title}\n\n{body.strip()}\n\n## Source and licence\n\n{words}\n\n" + "\n".join(rows) + "\n"
    (folder / "README.md").write_text(text, encoding="utf-8")


def _copy_texts(folder: Path, part: Part, *, first: bool) -> list[str]:
    names = []
    for file in part.licence.texts if part.licence else ():
        prefix = "" if first else f"{re.sub(r'[^a-z]+', '-', part.role.lower()).strip('-')}."
        name = file.name if not first or _TEXTS.fullmatch(file.name) else f"LICENSE.{file.name}"
        shutil.copyfile(file, folder / f"{prefix}{name}")
        names.append(f"{prefix}{name}")
    return names


def _named(licence: Licence | None, copied: Sequence[str]) -> str:
    if licence is None:
        return "not stated there; look it up before use"
    link = f" ({licence.link})" if licence.link else ""
    return f"{licence.name}{link}" + (f"; text in {', '.join(f'`{name}`' for name in copied)}" if copied else "")


def _first_line(file: Path) -> str:
    lines = (line.strip(" #*=-\t") for line in file.read_text(encoding="utf-8", errors="replace").splitlines())
    return next((line for line in lines if line), "") or f"see {file.name}"
