"""Which of two names a thing has that is pointed at (referring object classification): Ferret's LVIS set, and pictures with precise masks."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foveal.data.notes import box_in, box_of_xywh, mask_in, pictures_in, size_of, words_of_name
from foveal.data.reading import LOG, Report, array_of, made_of, object_of, some_of, text_lines
from foveal.data.sources.ferret import point_in
from foveal.data.sources.segments import marked_pictures, sa1b
from foveal.evaluate.benchmark import Benchmark, mean_figure
from foveal.evaluate.benchmarks.asking import asked_about, check_form, named_facts
from foveal.evaluate.metrics import names_object, spellings
from foveal.geometry import Box, Mask, Point, Region, Trace, bounding_box, encode_mask, points_within, rasterise
from foveal.grounding import Example, GroundedText, tied
from foveal.grounding.wordings.ferret import ask_choice
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["OFFICIAL", "Form", "lvis_choices", "sampled_lvis_choices", "stroke_in", "wild_choices"]

Form = Literal["point", "box", "free", "mask"]
"""How a thing is pointed at: by a point in it, its box, a stroke of free form within it, or its whole mask."""
_FORMS: tuple[Form, ...] = ("point", "box", "free")
_SPOKEN: Mapping[Form, str] = {"point": "a point", "box": "its box", "free": "a stroke", "mask": "its mask"}
_FERRET = "lvis/lvis_eval.jsonl"
_Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Thing:
    """A thing in a picture, by a name that is its own and one that is not; the place of `number` says which of the two is asked first."""

    example: Example
    number: int
    region: Region
    name: str
    other: str
    synonyms: Sequence[str] = ()


def lvis_choices(form: Form, *, as_published: bool = False, report: Report = LOG.warning) -> Benchmark:
    """Ferret's 2,667 things of LVIS val, as its evaluation builds them (arXiv 2310.07704, 5.1.1): `lvis/lvis_eval.jsonl`.

    A line has image_path, width, height, name, synonyms, neg_class, bbox_norm (corners as fractions), sample_point (pixels) and
    free_shape_segment_mask (width lists of height); pictures lie in `coco/val2017`. "Is the object [place] of the image a A or a B?", A being the
    right name in every line of even number. Right is an answer that says the name or a synonym as whole words, denies it not, and does not say
    the other. `as_published` is the rule of Ferret's script instead (`names_object(original=True)`). A coin gets half; `decided`
    is the share of answers that name one of the two alone: where it is low, a score below a half says that neither was named.
    """

    def things(root: Path) -> Iterator[_Thing]:
        lines = ((name, (number, line)) for number, (name, line) in enumerate(text_lines(root / _FERRET)))
        return made_of(lines, lambda pair: _published_thing(object_of(pair[1]), pair[0], form, root / "coco" / "val2017"), report)

    about = f"Which of two names a thing of LVIS has that is pointed at by {_SPOKEN[form]} (Ferret's 2,667 things)."
    return _choice(f"lvis-choice-{form}", about, (_FERRET,), things, form, as_published)


def sampled_lvis_choices(
    form: Form, *, count: int = 2667, seed: int = 0, file: str = "lvis/lvis_v1_val.json", as_published: bool = False, report: Report = LOG.warning
) -> Benchmark:
    """As `lvis_choices`, of things drawn by `seed` from LVIS val itself: for where Ferret's file is not at hand.

    The other name is any of LVIS that nothing in the picture is marked with, and that the picture's own lists do not leave open. The point is
    the pixel of the mask nearest to the box's middle (`point_in`), the free form a random stroke in the mask. Pictures lie in `coco/val2017` and
    `coco/train2017`.
    """
    about = f"Which of two names a thing of LVIS has that is pointed at by {_SPOKEN[form]} ({count} things drawn by a seed)."

    def things(root: Path) -> Iterator[_Thing]:
        return _drawn_things(root / file, root / "coco", form, count, seed, report)

    return _choice(f"lvis-sample-choice-{form}", about, (file,), things, form, as_published)


def wild_choices(
    folder: str,
    form: Form,
    *,
    layout: Literal["marked", "sa1b"] = "marked",
    seed: int = 0,
    as_published: bool = False,
    report: Report = LOG.warning,
) -> Benchmark:
    """As `lvis_choices`, of any pictures with precise masks and free names, as Ferret-v2's SA-refer (arXiv 2404.07973, 4.1; it is not public).

    `FOLDER/annotations.jsonl` is read (`marked_pictures`), of which things without a mask are left out; or as `sa1b` SA-1B's own files with
    `FOLDER/names.jsonl`, whose lines have `image` (its number), `segment` (its id), `name`, and may have `synonyms` and `other`. Where no other name
    is given it is drawn from those of the set that nothing in the picture bears.
    """
    file = f"{folder}/{'annotations' if layout == 'marked' else 'names'}.jsonl"
    about = f"Which of two names a thing of {folder} has that is pointed at by {_SPOKEN[form]}."

    def things(root: Path) -> Iterator[_Thing]:
        named = _marked_things(root / folder, report) if layout == "marked" else _named_segments(root / folder, root / file, report)
        return _with_others(list(named), form, seed)

    return _choice(f"{folder}-wild-choice-{form}", about, (file,), things, form, as_published)


def stroke_in(mask: Mask, rng: np.random.Generator) -> Mask:
    """A random stroke of free form within a mask: a broad line through four of its pixels, cut to it. ValueError for an empty mask.

    >>> bits = np.zeros((20, 30), bool)
    >>> bits[5:15, 5:25] = True
    >>> stroke = stroke_in(encode_mask(bits), np.random.default_rng(0))
    >>> bounding_box(stroke).x0 >= 5 / 30, 0 < sum(stroke.counts[1::2]) < 200
    (True, True)
    """
    box = bounding_box(mask)
    shorter = min((box.x1 - box.x0) * mask.width, (box.y1 - box.y0) * mask.height)
    size = (mask.width, mask.height)
    line = Trace(tuple((float(x), float(y)) for x, y in points_within(mask, size, 4, rng)))
    return encode_mask(rasterise(line, size, radius_px=max(1, round(shorter / 12)), inside=mask), mask.image)


def _choice(name: str, about: str, files: tuple[str, ...], things: Callable[[Path], Iterable[_Thing]], form: Form, as_published: bool) -> Benchmark:
    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        check_form(verbs, "mask" if form == "free" else form)
        by_picture: dict[str, list[_Thing]] = {}
        for thing in some_of(iter(things(root)), f"nothing of {root / files[0]} can be asked about; {name} wants things with two names."):
            by_picture.setdefault(str(thing.example.images[0].path), []).append(thing)
        for one in (thing for group in by_picture.values() for thing in group):
            first, second = (one.name, one.other) if one.number % 2 == 0 else (one.other, one.name)
            truth = tied(one.name, one.region)
            yield asked_about(one.example, one.number, ask_choice(one.region, first, second), truth, other=one.other, synonyms=list(one.synonyms))

    def score(asked: Example, said: GroundedText) -> float:
        right = [asked.notes[0].said.text, *map(str, named_facts(asked, "synonyms"))]
        if as_published:
            spoken = [right[0].replace("_", " ").strip(), *(spelling for one in right[1:] for spelling in spellings(one))]
            return float(names_object(said.text, spoken, original=True))
        return float(names_object(said.text, _spelt(right), _spelt([str(asked.facts["other"])])))

    def decided(asked: Example, said: GroundedText) -> float:
        sides = [[asked.notes[0].said.text, *map(str, named_facts(asked, "synonyms"))], [str(asked.facts["other"])]]
        right, other = map(_spelt, sides)
        return float(names_object(said.text, right, other) or names_object(said.text, other, right))

    return Benchmark(
        name=name + ("-as-published" if as_published else ""),
        about=about,
        files=files,
        questions=questions,
        score=score,
        figures=lambda answered: {"decided": mean_figure([decided(*one) for one in answered])},
        max_new_tokens=32,
    )


def _spelt(names: Sequence[str]) -> list[str]:
    return [spelling for name in names for spelling in (name, *spellings(name))]


def _published_thing(record: _Record, number: int, form: Form, images: Path) -> _Thing:
    size = size_of(record)
    match form:
        case "point":
            x, y = record["sample_point"]
            region: Region = Point(x / size[0], y / size[1])
        case "box":
            region = box_in([float(edge) * side for edge, side in zip(record["bbox_norm"], (*size, *size), strict=True)], size)
        case "free":
            columns = np.array(record["free_shape_segment_mask"])
            if columns.shape != size or not columns.any():
                raise ValueError(f"its free_shape_segment_mask has shape {columns.shape}; {size[0]} lists of {size[1]}, not all 0, are wanted")
            region = encode_mask(columns.T > 0)
        case "mask":
            raise ValueError("Ferret's file has no whole masks; a form of point, box or free is wanted")
    pictures = pictures_in(images, Path(record["image_path"]).name, size)
    return _Thing(Example(str(record["id"]), pictures), number, region, record["name"], record["neg_class"], list(record["synonyms"]))


def _drawn_things(file: Path, images: Path, form: Form, count: int, seed: int, report: Report) -> Iterator[_Thing]:
    kinds = {entry["id"]: entry for _, entry in array_of(file, "categories")}
    listed = list(made_of(array_of(file, "annotations"), lambda entry: (entry["image_id"], entry["category_id"], entry["id"]), report))
    chosen = {listed[place][2] for place in np.random.default_rng(seed).permutation(len(listed))[:count]}
    there: dict[Any, set[Any]] = {}
    for image, category, _ in listed:
        there.setdefault(image, set()).add(category)
    wanted: dict[Any, list[tuple[str, _Record]]] = {}
    for place, entry in array_of(file, "annotations"):
        if isinstance(entry, dict) and entry.get("id") in chosen:
            wanted.setdefault(entry["image_id"], []).append((place, entry))

    def things(record: _Record) -> list[_Thing]:
        size, number = size_of(record), record["id"]
        if number not in wanted:
            return []
        pictures = pictures_in(images, "/".join(str(record["coco_url"]).split("/")[-2:]), size)
        open_ones = there[number] | set(record.get("not_exhaustive_category_ids", ()))
        others = [words_of_name(kind["name"]) for key, kind in kinds.items() if key not in open_ones]

        def thing(entry: _Record) -> _Thing:
            rng, kind = np.random.default_rng([seed, int(entry["id"])]), kinds[entry["category_id"]]
            other = others[int(rng.integers(len(others)))]  # before the region, so that all forms are asked with the same names
            region = _pointed(mask_in(entry["segmentation"], size), box_of_xywh(entry["bbox"], size), form, rng)
            return _Thing(Example(str(number), pictures), int(entry["id"]), region, words_of_name(kind["name"]), other, list(kind["synonyms"]))

        return list(made_of(wanted[number], thing, report))

    drawn = (one for some in made_of(array_of(file, "images"), things, report) for one in some)
    return _numbered(drawn)


def _numbered(things: Iterable[_Thing]) -> Iterator[_Thing]:
    return (_Thing(one.example, place, one.region, one.name, one.other, one.synonyms) for place, one in enumerate(things))


def _pointed(mask: Mask, box: Box, form: Form, rng: np.random.Generator) -> Region:
    match form:
        case "point":
            x, y = point_in((box.x0 * mask.width, box.y0 * mask.height, box.x1 * mask.width, box.y1 * mask.height), mask, rng)
            return Point((x + 0.5) / mask.width, (y + 0.5) / mask.height)
        case "box":
            return box
        case "free":
            return stroke_in(mask, rng)
        case "mask":
            return mask


def _marked_things(folder: Path, report: Report) -> Iterator[tuple[Example, list[tuple[Mask, _Record]]]]:
    for example in marked_pictures(folder, masks=True, report=report):
        found = [(note.said.regions[0], note.said.text) for note in example.notes if note.source == "object" and note.said.regions]
        yield example, [(region, {"name": name}) for region, name in found if isinstance(region, Mask)]


def _named_segments(folder: Path, names: Path, report: Report) -> Iterator[tuple[Example, list[tuple[Mask, _Record]]]]:
    known: dict[tuple[str, str], _Record] = {}
    for record in made_of(text_lines(names), object_of, report):
        known[str(record.get("image")), str(record.get("segment"))] = record
    for example in sa1b(folder, report=report):
        found = [(note.said.regions[0], known.get((example.id, note.made_by.get("id", "")))) for note in example.notes]
        yield example, [(region, record) for region, record in found if isinstance(region, Mask) and record and record.get("name")]


def _with_others(named: Sequence[tuple[Example, list[tuple[Mask, _Record]]]], form: Form, seed: int) -> Iterator[_Thing]:
    """Each thing with a name that is not its own; those of a picture that bears every name of the set have none."""
    every = sorted({str(record["name"]) for _, things in named for _, record in things})
    number = 0
    for example, things in named:
        there = {note.said.text for note in example.notes} | {str(record["name"]) for _, record in things}
        free = [name for name in every if name not in there]
        for mask, record in things:
            rng = np.random.default_rng([seed, number])
            other = record.get("other") or (free[int(rng.integers(len(free)))] if free else None)
            if other:
                region = _pointed(mask, bounding_box(mask), form, rng)
                yield _Thing(example, number, region, str(record["name"]), str(other), list(record.get("synonyms", ())))
                number += 1


OFFICIAL: tuple[Benchmark, ...] = tuple(made(form) for made in (lvis_choices, sampled_lvis_choices) for form in _FORMS)
"""Ferret's three forms, of its own file and of a seeded sample of LVIS val."""
