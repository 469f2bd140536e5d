"""Data sets by name, for the command line alone: a recipe imports the function, and so does whoever has one of his own."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from foveal.data.reading import Report
from foveal.grounding import Example, read_examples

__all__ = ["SOURCES", "guess_source", "open_source", "source_named"]

Source = Callable[..., Iterator[Example]]

_WITHIN = "foveal.data.sources."
SOURCES: Mapping[str, str] = {
    "examples": "foveal.grounding:read_examples",
    "marked": "segments:marked_pictures",
    "coco": "coco:coco_instances",
    "coco-captions": "coco:coco_captions",
    "coco-panoptic": "coco:coco_panoptic",
    "objects365": "coco:coco_instances",
    "lvis": "coco:lvis",
    "sa1b": "segments:sa1b",
    "yolo": "tools:yolo",
    "label-studio": "tools:label_studio",
    "ms-swift": "conversations:swift_objects",
    "refcoco": "referring:refcoco",
    "mdetr": "referring:mdetr_referring",
    "uninext": "referring:uninext_referring",
    "flickr30k": "flickr30k:flickr30k_entities",
    "vg-objects": "visual_genome:vg_objects",
    "vg-attributes": "visual_genome:vg_attributes",
    "vg-relationships": "visual_genome:vg_relationships",
    "vg-regions": "visual_genome:vg_regions",
    "vg-dense": "visual_genome:dense_captions",
    "narratives": "localized_narratives:localized_narratives",
    "ferret": "ferret:ferret_items",
    "kosmos-grit": "image_text:kosmos_grit",
    "webdataset": "image_text:webdataset",
    "llava": "conversations:llava_conversations",
    "qwen": "conversations:qwen_conversations",
    "vqa": "questions:vqa",
    "gqa": "questions:gqa",
    "vizwiz": "questions:vizwiz",
    "scienceqa": "questions:science_qa",
    "textvqa": "documents:text_vqa",
    "st-vqa": "documents:st_vqa",
    "ocr-vqa": "documents:ocr_vqa",
    "docvqa": "documents:doc_vqa",
    "infographicsvqa": "documents:infographics_vqa",
    "chartqa": "documents:chart_qa",
    "ai2d": "documents:ai2d",
    "due": "documents:due",
    "visualmrc": "documents:visual_mrc",
    "textcaps": "documents:text_caps",
}
"""What `foveal data` and `foveal finetune` call a data set, and where its function is."""


def source_named(name: str) -> Source:
    """The function of a data set: one of `SOURCES`, "package.module:function", or "path/to/file.py:function". ValueError where there is none."""
    place, _, function = SOURCES.get(name, name).rpartition(":")
    if not place:
        raise ValueError(f"there is no data set {name!r}; known are {', '.join(SOURCES)}, and module:function or file.py:function of your own.")
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place if "." in place else _WITHIN + place)
        found = getattr(module, function)
    except (ImportError, AttributeError, OSError, SyntaxError) as error:
        raise ValueError(f"the data set {name!r} cannot be had: {error}") from error
    if not callable(found):
        raise ValueError(f"{name!r} is a {type(found).__name__}; a function that yields examples is wanted.")
    return found


def open_source(name: str, paths: Sequence[str], settings: Mapping[str, str], report: Report) -> Iterator[Example]:
    """The examples of a data set: its function is given the paths in their order, and settings by name ("true" and whole numbers as such).

    ValueError for a setting that the function does not take, or one that it wants and that is missing.
    """
    source = source_named(name)
    if source is read_examples:
        return (example for path in paths for example in read_examples(path))
    known = inspect.signature(source).parameters
    given: dict[str, Any] = {key: _value(value) for key, value in settings.items()}
    if odd := sorted(set(given) - set(known)):
        raise ValueError(f"{name} takes no {odd[0]!r}; it takes {', '.join(known)}.")
    if "report" in known:
        given["report"] = report
    try:
        inspect.signature(source).bind(*paths, **given)
    except TypeError as error:
        raise ValueError(f"{name} takes {', '.join(known)}: {error}.") from error
    return source(*paths, **given)


def guess_source(path: str) -> str:
    """The name of the data set that a path most likely is: a folder with annotations.jsonl, a COCO file, or a file of examples."""
    place = Path(path)
    if place.is_dir() and (place / "annotations.jsonl").is_file():
        return "marked"
    if place.suffix == ".json":
        return "coco"
    if place.suffix == ".jsonl":
        with open(place, encoding="utf-8") as lines:
            return "examples" if '"id"' in next(lines, "") else "marked"
    raise ValueError(f"what kind of data set {path} is cannot be told; name it with --as, one of {', '.join(SOURCES)}.")


def _value(text: str) -> Any:
    return {"true": True, "false": False}.get(text.lower(), int(text) if text.isdecimal() else text)


def _from_file(path: Path) -> Any:
    """A person's own file, run as Python runs it."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.stem not in sys.modules or getattr(sys.modules[path.stem], "__file__", "") != str(path.resolve()):
        sys.path.insert(0, str(path.resolve().parent))
        spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    return sys.modules[path.stem]
