"""What the nano benchmark asks of a model whose words have places: a narrative, expressions found and outlined, regions named, everything told."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from foveal.data.sources.scenes import Drawing, SceneStyle, draw_scene, thing_mask, vocabulary
from foveal.data.sources.scenes.phrases import View, view_of
from foveal.data.sources.scenes.questions import ask_about
from foveal.data.sources.scenes.words import plural
from foveal.evaluate import boxes_agree, calibration_error, first_box, names_object
from foveal.geometry import Box, Mask, bounding_box, iou, mask_iou
from foveal.grounding import Example, GroundedText, Note, Picture, Span, Turn
from foveal.session import Session
from nano_measures import Figure, share

__all__ = ["place_figures", "placed_answers", "placed_scene"]

LEAST = 24
"""Things with a shorter side below that, in pixels of the network's input, are not asked about, and count neither way."""
STYLE = SceneStyle(sides=((192, 256, 1.0),), things=(3, 8), relative_sizes=(0.12, 0.45), small_share=0.1, small_px=(20, 32), text_share=0.15)
_FORMS = {form: name for name in vocabulary() for form in (plural(name), name)}
_NAMES = re.compile("|".join(rf"\b{re.escape(form)}\b" for form in sorted(_FORMS, key=len, reverse=True)), re.IGNORECASE)
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
    scene = session.look(drawing.pixels)
    found = [("narrate", scene.caption(detailed=True).said, _everything(view, scale))]
    found += [("dense", scene.dense_captions().said, _everything(view, scale))]
    phrases = [phrase for thing in asked[:3] if (phrase := _phrase(drawing, rng, thing))]
    if phrases:
        words = [text for text, _ in phrases]
        for task, answers in (("locate", scene.locate(words)), ("segment", scene.segment(words))):
            truth = [_tied(text, view.boxes[thing] if task == "locate" else thing_mask(drawing, thing)) for text, thing in phrases]
            found += [(task, answer.said, said) for answer, said in zip(answers, truth, strict=True)]
    if asked:
        told = scene.describe([view.boxes[thing] for thing in asked[:4]])
        found += [("describe", answer.said, _tied(view.names[thing], view.boxes[thing])) for answer, thing in zip(told, asked[:4], strict=True)]
    return [_example(drawing, number, *one) for number, one in enumerate(found)]


def place_figures(answered: Sequence[Example]) -> dict[str, Figure]:
    """`words_placed`: of the words of a narrative that name a thing which is there, the share whose middle lies in such a thing's box, a mean over
    narratives; `words_placed_centre`: what the picture's centre would reach; `words_absent`: the share of names of what is not there."""
    of: dict[str, list[tuple[GroundedText, GroundedText]]] = {}
    for example in answered:
        of.setdefault(str(example.facts["task"]), []).append((example.turns[1].said, example.notes[0].said))
    located, outlined, dense = of.get("locate", []), of.get("segment", []), of.get("dense", [])
    right = boxes_agree([first_box(said) for said, _ in located], [bounding_box(true.regions[0]) for _, true in located])
    scores = [said.spans[0].scores[0] if said.spans and said.spans[0].scores else None for said, _ in located]
    figures = _words(of.get("narrate", [])) | {
        "refer_p50": share(right),
        "segment_iou": _mean([_mask_overlap(said, true) for said, true in outlined]),
        "region_named": share(names_object(said.text, [true.text]) for said, true in of.get("describe", [])),
        "detect_map": _mean([_average_precision(dense, least, named=False) for least in _OVERLAPS], len(dense)),
        "detect_named_map": _mean([_average_precision(dense, least, named=True) for least in _OVERLAPS], len(dense)),
    }
    if scores and None not in scores:
        figures["place_calibration_error"] = Figure(calibration_error([float(score or 0) for score in scores], right), len(right), *_NONE)
    return {name: figure for name, figure in figures.items() if figure.count}


_NONE = (float("nan"), float("nan"))


def _words(narrated: Sequence[tuple[GroundedText, GroundedText]]) -> dict[str, Figure]:
    placed, centred, absent = [], [], []
    for said, true in narrated:
        verdicts = list(_verdicts(said, true))
        there = [verdict for verdict in verdicts if verdict is not None]
        absent += [verdict is None for verdict in verdicts]
        if there:
            placed.append(float(np.mean([inside for inside, _ in there])))
            centred.append(float(np.mean([middle for _, middle in there])))
    return {"words_placed": _mean(placed), "words_placed_centre": _mean(centred), "words_absent": share(absent)}


def _verdicts(said: GroundedText, true: GroundedText) -> Iterator[tuple[bool, bool] | None]:
    """For each name in what was said whether its place lies in a thing of that name, and whether the centre does; None for what is not there."""
    boxes: dict[str, list[Box]] = {}
    for span in true.spans:
        boxes.setdefault(true.text[span.start : span.end], []).append(bounding_box(span.regions[0]))
    for word in _NAMES.finditer(said.text):
        name = _FORMS[word[0].lower()]
        spans = [span for span in said.spans if span.regions and span.start < word.end() and word.start() < span.end]
        if name not in boxes:
            yield None
        elif all(box.x1 - box.x0 > 0 for box in boxes[name]):
            places = [bounding_box(span.regions[0]) for span in spans[-1:]]
            middles = [((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2) for box in places]
            yield any(_inside(middle, boxes[name]) for middle in middles), _inside((0.5, 0.5), boxes[name])


def _inside(point: tuple[float, float], boxes: Sequence[Box]) -> bool:
    return any(box.x0 <= point[0] <= box.x1 and box.y0 <= point[1] <= box.y1 for box in boxes)


def _mask_overlap(said: GroundedText, true: GroundedText) -> float:
    masks = [region for region in said.regions if isinstance(region, Mask)]
    wanted = true.regions[0]
    return mask_iou(masks[0], wanted) if masks and isinstance(wanted, Mask) else 0.0


def _average_precision(answered: Sequence[tuple[GroundedText, GroundedText]], least: float, *, named: bool) -> float:
    """Mean precision at 101 recalls, all scenes' detections ranked together: a detection is right when it overlaps a thing not yet found by `least`,
    and, where `named`, says its name."""
    ranked: list[tuple[float, bool]] = []
    there = 0
    for said, true in answered:
        truth = [(true.text[span.start : span.end], bounding_box(span.regions[0])) for span in true.spans]
        there += len(truth)
        free = np.ones(len(truth), bool)
        told = ((float(span.scores[0] or 0), said.text[span.start : span.end], bounding_box(span.regions[0])) for span in said.spans)
        found = sorted(told, key=lambda one: -one[0])
        overlaps = _overlaps([box for _, _, box in found], [box for _, box in truth])
        for row, (score, words, _) in enumerate(found):
            fits = np.array([not named or names_object(words, [name]) for name, _ in truth], bool)
            usable = np.where(free & fits, overlaps[row], -1) if len(truth) else np.zeros(0)
            best = int(usable.argmax()) if len(truth) else 0
            hit = bool(len(truth)) and usable[best] >= least
            free[best : best + 1] &= not hit
            ranked.append((score, hit))
    hits = np.array([hit for _, hit in sorted(ranked, key=lambda one: -one[0])], float).cumsum()
    precision, recall = hits / np.arange(1, len(hits) + 1), hits / max(1, there)
    return float(np.mean([precision[recall >= level].max(initial=0.0) for level in np.linspace(0, 1, 101)]))


def _overlaps(found: Sequence[Box], truth: Sequence[Box]) -> np.ndarray:
    first, second = (np.array([(box.x0, box.y0, box.x1, box.y1) for box in boxes]).reshape(-1, 4) for boxes in (found, truth))
    return iou(first, second)


def _mean(values: Sequence[float], count: int | None = None) -> Figure:
    """A mean with the interval of its standard error."""
    if not values:
        return Figure(0.0, 0, *_NONE)
    middle, away = float(np.mean(values)), 1.96 * float(np.std(values)) / len(values) ** 0.5
    return Figure(middle, len(values), middle - away, middle + away) if count is None else Figure(middle, count, *_NONE)


def _large(drawing: Drawing, thing: int, scale: float) -> bool:
    x0, y0, x1, y1 = drawing.things[thing].box_px
    return drawing.things[thing].kind != "text" and min(x1 - x0, y1 - y0) * scale >= LEAST


def _everything(view: View, scale: float) -> GroundedText:
    """All things that are large enough, by name."""
    parts: list[GroundedText] = []
    for thing, name in enumerate(view.names):
        if _large(view.drawing, thing, scale):
            parts += [GroundedText(", ")] if parts else []
            parts.append(_tied(name, view.boxes[thing]))
    return GroundedText.join(*parts)


def _tied(words: str, region: Box | Mask) -> GroundedText:
    return GroundedText(words, (Span(0, len(words), (region,)),))


def _phrase(drawing: Drawing, rng: np.random.Generator, thing: int) -> tuple[str, int] | None:
    question = ask_about(drawing, rng, "locate", things=[thing])
    if question is None or question.things != (thing,) or not question.answer.spans:
        return None
    span = question.answer.spans[0]
    return question.answer.text[span.start : span.end], thing


def _example(drawing: Drawing, number: int, task: str, said: GroundedText, true: GroundedText) -> Example:
    height, width = drawing.labels.shape
    return Example(
        id=f"{drawing.id}/{task}/{number}",
        images=(Picture(width, height, data=b""),),
        turns=(Turn("user", GroundedText(task)), Turn("assistant", said)),
        notes=(Note(true, source="truth"),),
        facts={"scene": drawing.id, "task": task, "width": width, "height": height},
    )
