"""What the nano benchmark asks of a model whose words have places: a narrative, expressions found and outlined, regions named, everything told."""

from collections.abc import Sequence

import numpy as np

from foveal.data.sources.scenes import Drawing, SceneStyle, draw_scene, thing_mask, vocabulary
from foveal.data.sources.scenes.phrases import View, view_of
from foveal.data.sources.scenes.questions import expression
from foveal.data.sources.scenes.words import name_forms
from foveal.evaluate import Figure, average_precision, boxes_agree, calibration_error, first_box, names_object, names_placed, share
from foveal.evaluate.calibration import scored_words
from foveal.geometry import Mask, Point, bounding_box, mask_iou
from foveal.grounding import Example, GroundedText, Note, Picture, Turn, tied
from foveal.session import Session

__all__ = ["place_figures", "placed_answers", "placed_scene"]

LEAST = 24
"""Things with a shorter side below that, in pixels of the network's input, are not asked about, and count neither way."""
STYLE = SceneStyle(sides=((192, 256, 1.0),), things=(3, 8), relative_sizes=(0.12, 0.45), small_share=0.1, small_px=(20, 32), text_share=0.15)
_FORMS = name_forms()
_OVERLAPS = (0.3, 0.4, 0.5, 0.6, 0.7)


def placed_scene(seed: int, number: int) -> Drawing:
    """Test scene `number` of the benchmark with this seed: pictures about as large as a small model's input."""
    return draw_scene(seed * 1_000_000 + number, "test", STYLE)


def placed_answers(session: Session, drawing: Drawing) -> list[Example]:
    """All that is asked about a scene, answered; each with the truth as a note."""
    rng = np.random.default_rng(list(drawing.id.encode()))
    view = view_of(drawing)
    height, width = drawing.labels.shape
    scale = session.processor.plan((width, height)).sx / width
    asked = [thing for thing in rng.permutation(len(drawing.things)).tolist() if _large(drawing, thing, scale)]
    large, small = _everything(view, scale)
    scene, config = session.look(drawing.pixels), session.model.config
    found = [("narrate", scene.caption(detailed=True).said, large)]
    if config.detector is not None:
        found += [("dense", scene.dense_captions().said, large)]
    phrases = [phrase for thing in asked[:3] if (phrase := expression(drawing, rng, thing))]
    if phrases:
        words = [text for text, _ in phrases]
        boxes = [tied(text, view.boxes[thing]) for text, thing in phrases]
        found += [("locate", answer.said, true) for answer, true in zip(scene.locate(words), boxes, strict=True)]
        if config.segments:
            masks = [tied(text, thing_mask(drawing, thing)) for text, thing in phrases]
            found += [("segment", answer.said, true) for answer, true in zip(scene.segment(words), masks, strict=True)]
    if asked:
        told = scene.describe([view.boxes[thing] for thing in asked[:4]])
        found += [("describe", answer.said, tied(view.names[thing], view.boxes[thing])) for answer, thing in zip(told, asked[:4], strict=True)]
    return [_example(drawing, number, *one, small) for number, one in enumerate(found)]


def place_figures(answered: Sequence[Example]) -> dict[str, Figure]:
    """`words_placed`: of the words of a narrative that name a thing which is there, the share whose middle lies in such a thing's box, a mean over
    narratives; `words_placed_centre`: what the picture's centre would reach; `words_absent`: the share of names of what is not there.
    `place_calibration_error`: of the scores of expressions' boxes, right at IoU 0.5; `word_calibration_error`: of the scores of words' places in
    narratives, by the event whose chance they give (`scored_words`)."""
    of: dict[str, list[Example]] = {}
    for example in answered:
        of.setdefault(str(example.facts["task"]), []).append(example)
    located, outlined, described = (list(map(_answer, of.get(task, []))) for task in ("locate", "segment", "describe"))
    right = boxes_agree([first_box(said) for said, _ in located], [bounding_box(true.regions[0]) for _, true in located])
    scores = [said.spans[0].scores[0] if said.spans and said.spans[0].scores else None for said, _ in located]
    dense = [(*_answer(example), example.notes[1].said) for example in of.get("dense", [])]
    figures = _words(of.get("narrate", [])) | {
        "refer_p50": share(right),
        "segment_iou": _mean([_mask_overlap(said, true) for said, true in outlined]),
        "region_named": share(names_object(said.text, [true.text], vocabulary()) for said, true in described),
        "detect_map": _mean([average_precision(dense, threshold=least) for least in _OVERLAPS], len(dense)),
        "detect_named_map": _mean([average_precision(dense, vocabulary(), threshold=least) for least in _OVERLAPS], len(dense)),
    }
    if scores and None not in scores:
        figures["place_calibration_error"] = Figure(calibration_error([float(score or 0) for score in scores], right), len(right), *_NONE)
    figures["word_calibration_error"] = _word_calibration(of.get("narrate", []))
    return {name: figure for name, figure in figures.items() if figure.count}


def _answer(example: Example) -> tuple[GroundedText, GroundedText]:
    """What was said, and what is true."""
    return example.turns[1].said, example.notes[0].said


_NONE = (float("nan"), float("nan"))


def _words(narrated: Sequence[Example]) -> dict[str, Figure]:
    placed, centred, absent = [], [], []
    for example in narrated:
        (said, true), besides = _answer(example), set(_names(example.notes[1].said))
        verdicts, middles = (names_placed(words, true, _FORMS, besides) for words in (said, tied(said.text, Point(0.5, 0.5))))
        absent += [verdict is None for verdict in verdicts]
        if not all(verdict is None for verdict in verdicts):
            placed.append(_share_of_known(verdicts))
            centred.append(_share_of_known(middles))
    return {"words_placed": _mean(placed), "words_placed_centre": _mean(centred), "words_absent": share(absent)}


def _word_calibration(narrated: Sequence[Example]) -> Figure:
    scores, hits = list[float](), list[bool]()
    for example in narrated:
        (said, true), besides = _answer(example), set(_names(example.notes[1].said))
        forms = {form: name for form, name in _FORMS.items() if name not in besides}
        found = scored_words(said, true, forms, (example.images[0].width, example.images[0].height))
        scores, hits = scores + found[0], hits + found[1]
    return Figure(calibration_error(scores, hits), len(scores), *_NONE)


def _share_of_known(verdicts: Sequence[bool | None]) -> float:
    return float(np.mean([verdict for verdict in verdicts if verdict is not None]))


def _names(said: GroundedText) -> list[str]:
    return [said.text[span.start : span.end] for span in said.spans]


def _mask_overlap(said: GroundedText, true: GroundedText) -> float:
    masks = [region for region in said.regions if isinstance(region, Mask)]
    wanted = true.regions[0]
    return mask_iou(masks[0], wanted) if masks and isinstance(wanted, Mask) else 0.0


def _mean(values: Sequence[float], count: int | None = None) -> Figure:
    """A mean with the interval of its standard error."""
    if not values:
        return Figure(0.0, 0, *_NONE)
    middle, away = float(np.mean(values)), 1.96 * float(np.std(values)) / len(values) ** 0.5
    return Figure(middle, len(values), middle - away, middle + away) if count is None else Figure(middle, count, *_NONE)


def _large(drawing: Drawing, thing: int, scale: float) -> bool:
    x0, y0, x1, y1 = drawing.things[thing].box_px
    return drawing.things[thing].kind != "text" and min(x1 - x0, y1 - y0) * scale >= LEAST


def _everything(view: View, scale: float) -> tuple[GroundedText, GroundedText]:
    """All things that are large enough, by name; and the others."""
    sides: tuple[list[GroundedText | str], ...] = ([], [])
    for thing, name in enumerate(view.names):
        sides[not _large(view.drawing, thing, scale)].extend((tied(name, view.boxes[thing]), ", "))
    large, small = (GroundedText.join(*parts[:-1]) for parts in sides)
    return large, small


def _example(drawing: Drawing, number: int, task: str, said: GroundedText, true: GroundedText, besides: GroundedText) -> Example:
    height, width = drawing.labels.shape
    return Example(
        id=f"{drawing.id}/{task}/{number}",
        images=(Picture(width, height, data=b""),),
        turns=(Turn("user", GroundedText(task)), Turn("assistant", said)),
        notes=(Note(true, source="truth"), Note(besides, source="too small to be asked about")),
        facts={"scene": drawing.id, "task": task, "width": width, "height": height},
    )
