"""Data sets by name, for the command line alone: a recipe imports the function, and so does whoever has one of his own."""

import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from itertools import islice
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from foveal.data.published import Published, published_as
from foveal.data.reading import Report, needed, text_lines
from foveal.grounding import Example

__all__ = ["SOURCES", "check_pictures", "from_file", "guess_source", "open_source", "source_named", "terms_of"]

_Source = Callable[..., Iterator[Example]]

_WITHIN = "foveal.data.sources."
SOURCES: Mapping[str, str] = {
    "examples": "examples:recorded",
    "shards": "examples:shards",
    "marked": "segments:marked_pictures",
    "coco": "coco:coco_instances",
    "coco-captions": "coco:coco_captions",
    "coco-panoptic": "coco:coco_panoptic",
    "karpathy": "captions:karpathy",
    "nocaps": "captions:no_caps",
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
    "est-vqa": "questions:est_vqa",
    "pope": "suites:pope",
    "mme": "suites:mme",
    "seed-bench": "suites:seed_bench",
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

_LINES = (
    ("narratives", {"timed_caption", "traces"}),
    ("ms-swift", {"messages"}),
    ("due", {"name", "annotations"}),
    ("visualmrc", {"qa_data"}),
    ("marked", {"image", "width", "height"}),
    ("examples", {"id"}),
)
"""The fields by which a line of a .jsonl file is known; the first that fits counts."""

_WHOLES = (
    ("vg-dense", {"annotations.item.caption", "annotations.item.bbox"}),
    ("coco-captions", {"annotations.item.caption"}),
    ("coco", {"images"}),
    ("coco", {"categories"}),
    ("coco", {"annotations.item.category_id"}),
    ("ferret", {"item.conversations", "item.box_x1y1x2y2"}),
    ("llava", {"item.conversations"}),
    ("label-studio", {"item.data", "item.annotations"}),
)
"""The same of the beginning of a .json file, in ijson's words."""

_LOOKED_AT = 200_000  # bytes at the beginning of a file


def source_named(name: str) -> _Source:
    """The function of a data set: one of `SOURCES`, "package.module:function", or "path/to/file.py:function". ValueError where there is none."""
    place, _, function = SOURCES.get(name, name).rpartition(":")
    if not place:
        raise ValueError(f"there is no data set {name!r}; known are {', '.join(SOURCES)}, and module:function or file.py:function of your own.")
    try:
        module = from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place if "." in place else _WITHIN + place)
        found = getattr(module, function)
    except Exception as error:  # a person's own file can fail in any way
        raise ValueError(f"the data set {name!r} cannot be had: {error}") from error
    if not callable(found):
        raise ValueError(f"{name!r} is a {type(found).__name__}; a function that yields examples is wanted.")
    return found


def open_source(name: str, paths: Sequence[str], settings: Mapping[str, str], report: Report) -> Iterator[Example]:
    """The examples of a data set: its function is given the paths in their order, and settings by name, as numbers or true and false where its
    defaults or annotations are. Examples of an official file carry its publisher's terms where no setting "licence" gives others.

    ValueError for a setting that the function does not take, or one that it wants and that is missing, and for what is no example.
    """
    source = source_named(name)
    known = inspect.signature(source).parameters
    if odd := sorted(set(settings) - set(known)):
        raise ValueError(f"{name} takes no {odd[0]!r}; it takes {', '.join(known)}.")
    given: dict[str, Any] = {key: _value(value, known[key]) for key, value in settings.items()}
    if found := terms_of(name, paths, settings):
        given["licence"] = found.terms
    if "report" in known:
        given["report"] = report
    try:
        inspect.signature(source).bind(*paths, **given)
    except TypeError as error:
        raise ValueError(f"{name} takes {', '.join(known)}: {error}.") from error
    return map(partial(_checked, name), source(*paths, **given))


def terms_of(name: str, paths: Sequence[str], settings: Mapping[str, str]) -> Published | None:
    """The published set whose terms the examples carry: where the first path is an official file, its function takes a licence, and none is given."""
    if "licence" in settings or "licence" not in inspect.signature(source_named(name)).parameters or not (found := published_as(name, paths)):
        return None
    return found[0]


def check_pictures(images: str | PathLike[str] | None) -> None:
    """ValueError where the folder of pictures is not there, before each record is found to lack its own."""
    if images is not None and not Path(images).is_dir():
        raise ValueError(f"there is no folder {fspath(images)} for the pictures (--images)")


def guess_source(path: str) -> str:
    """The name of the data set that a path most likely is: a folder with annotations.jsonl or of shards, or a file known by the names of its fields.

    ValueError where there is nothing, or it cannot be told.
    """
    place = Path(path)
    if not place.exists():
        raise ValueError(f"there is no file or folder {path}")
    if place.is_dir() and (place / "annotations.jsonl").is_file():
        return "marked"
    if place.is_dir() and any(place.glob("*.parquet")):
        return "shards"
    kinds, fields = (_LINES, _fields_of_lines(place)) if place.suffix == ".jsonl" else (_WHOLES, _fields_of_whole(place))
    for name, wanted in kinds:
        if wanted <= fields:
            return name
    raise ValueError(f"what kind of data set {path} is cannot be told; name it with --as, one of {', '.join(SOURCES)}.")


def _fields_of_lines(path: Path) -> set[str]:
    """Of the first lines' first that is an object."""
    for _, line in islice(text_lines(path), 20):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            return set(record)
    return set()


def _fields_of_whole(path: Path) -> set[str]:
    """Of the outermost object, or of the first object in the outermost list, and of annotations in them, as far as the file is looked at."""
    fields = set[str]()
    if path.suffix != ".json" or not path.is_file():
        return fields
    ijson = needed("ijson")
    with open(path, "rb") as file:
        start = BytesIO(file.read(_LOOKED_AT))
    try:
        for prefix, event, value in ijson.parse(start):
            if event == "map_key" and prefix in ("", "item", "annotations.item"):
                fields.add(f"{prefix}.{value}".lstrip("."))
            if event == "end_map" and prefix == "item":
                break
    except (ijson.JSONError, ValueError):  # cut in the middle, or no JSON, which whoever reads it says
        pass
    return fields


def _value(text: str, parameter: inspect.Parameter) -> Any:
    kind = parameter.annotation if parameter.default in (inspect.Parameter.empty, None) else type(parameter.default)
    if kind in (bool, "bool"):
        if text.lower() not in ("true", "false"):
            raise ValueError(f"--set {parameter.name}={text} is not understood; true or false is wanted.")
        return text.lower() == "true"
    for number, names in ((int, (int, "int", "int | None")), (float, (float, "float", "float | None"))):
        if kind in names:
            try:
                return number(text)
            except ValueError as error:
                raise ValueError(f"--set {parameter.name}={text} is not understood; a number is wanted.") from error
    return text


def _checked(name: str, example: Any) -> Example:
    if not isinstance(example, Example):
        raise ValueError(f"{name} gave a {type(example).__name__}; an Example is wanted.")
    return example


def from_file(path: Path) -> Any:
    """A person's own file, run as Python runs it."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.suffix != ".py":
        raise ValueError(f"{path} is no file of Python; one that ends with .py is wanted")
    if path.stem in sys.stdlib_module_names:
        raise ValueError(f"{path} has the name of a module of Python; it wants another.")
    if path.stem not in sys.modules or getattr(sys.modules[path.stem], "__file__", "") != str(path.resolve()):
        sys.path.insert(0, str(path.resolve().parent))
        spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[path.stem]  # half of it is of no use to anybody
            raise
    return sys.modules[path.stem]
