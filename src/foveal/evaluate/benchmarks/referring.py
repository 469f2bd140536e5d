"""Referring expressions on the official files of RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO: boxes, masks, and captions of what is referred to."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from foveal.data.reading import LOG, Report
from foveal.data.sources.referring import mdetr_referring, refcoco, uninext_referring
from foveal.evaluate.benchmark import Benchmark, mean_figure
from foveal.evaluate.benchmarks.asking import asked_about, calibration_figure, judged_places, share_figure
from foveal.evaluate.benchmarks.regions import region_captions
from foveal.evaluate.boxes import generalised_figures, pair_overlaps, referring_figures
from foveal.evaluate.kept import Answered
from foveal.evaluate.masks import mask_boxes, mask_figures, shared_pixels
from foveal.evaluate.meteor import MeteorWords
from foveal.evaluate.metrics import boxes_agree, first_box
from foveal.evaluate.regions import Figure
from foveal.evaluate.sampling import bootstrap
from foveal.geometry import Box, Mask, bounding_box, encode_mask, rasterise
from foveal.grounding import Example, GroundedText
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["OFFICIAL", "Data", "Layout", "expression_boxes", "expression_captions", "expression_masks"]

Data = Literal["refcoco", "refcoco+", "refcocog", "grefcoco"]
Layout = Literal["refer", "mdetr", "seqtr"]
_SPLITS: Mapping[Data, tuple[str, ...]] = {
    "refcoco": ("val", "testA", "testB"),
    "refcoco+": ("val", "testA", "testB"),
    "refcocog": ("val", "test"),
    "grefcoco": ("val", "testA", "testB"),
}
_REFS: Mapping[Data, str] = {
    "refcoco": "refs(unc).p",
    "refcoco+": "refs(unc).p",
    "refcocog": "refs(umd).p",
    "grefcoco": "grefs(unc).json",
}
_SEQTR: Mapping[Data, str] = {"refcoco": "refcoco-unc", "refcoco+": "refcocoplus-unc", "refcocog": "refcocog-umd", "grefcoco": "grefcoco-unc"}
_LEVELS = (0.25, 0.5, 0.75, 0.9)


def expression_boxes(
    data: Data = "refcoco", split: str = "val", *, layout: Layout = "refer", as_published: bool = False, report: Report = LOG.warning
) -> Benchmark:
    """Where what a sentence means is (Yu et al. 2016; Mao et al. 2016): right is an IoU of 0.5 or more of the first box said.

    Of a sentence that means nothing no box is right. In `grefcoco` (Liu et al. 2023) a sentence may mean several things, and right is an answer
    without fault: as many boxes as things, each with its own. Figures are `precision@t` of sentences that mean one thing, `mean_iou`, and where
    there are others `faultless`, `n_acc` and `t_acc` (`generalised_figures`). `as_published` adds, for comparison with published tables only, the
    rows of Ferret's harness ("published/mean@0.5", "published/best@0.5") and PixelLLM's ("published/above@0.5", an IoU above 0.5).

    Read are `refcoco/refs(unc).p` and `refcoco/instances.json` (so too `refcoco+`; `refcocog/refs(umd).p`, `grefcoco/grefs(unc).json`), as `mdetr`
    `mdetr/finetune_refcoco_val.json`, as `seqtr` `seqtr/refcoco-unc/instances.json`; pictures lie in `coco/train2014`.
    """
    exact = data == "grefcoco"

    def score(asked: Example, said: GroundedText) -> float:
        truth = _true_boxes(asked)
        if exact or len(truth) != 1:
            return generalised_figures([(judged_places(asked, said), truth)])["precision"]
        return float(boxes_agree([first_box(said)], truth)[0])

    return Benchmark(
        name=_name(data, split, layout),
        about=f"Where what a sentence of {_title(data, split)} means is, IoU 0.5 of the first box.",
        files=_files(data, split, layout),
        questions=lambda root, verbs: _questions(_read(root, data, split, layout, False, report), verbs, "location"),
        score=score,
        figures=lambda answered: _box_figures(answered, as_published),
        max_new_tokens=64,
    )


def expression_masks(data: Data = "refcoco", split: str = "val", *, layout: Layout = "refer", report: Report = LOG.warning) -> Benchmark:
    """The outline of what a sentence means: `ciou`, all shared pixels over all pixels of either, and `giou`, the mean of each answer's IoU.

    The first mask counts, in `grefcoco` all together; an outline that is a box is none. `precision@t` is the share with an IoU above t,
    `box_precision@0.5` that of the boxes around the masks; `n_acc` and `t_acc` are there where sentences mean nothing (Liu et al. 2023, GRES).
    Files are those of `expression_boxes`; sentences without an outline are not asked.
    """
    exact = data == "grefcoco"

    def pairs(answered: Sequence[Answered]) -> list[tuple[Mask | None, Mask | None]]:
        return [(_answered_outline(asked, said, exact), _outlined(asked, asked.notes[0].said, True)) for asked, said in answered]

    def figures(answered: Sequence[Answered]) -> Mapping[str, Figure]:
        return _mask_figures(pairs(answered))

    return Benchmark(
        name=f"{_name(data, split, layout)}-masks",
        about=f"The outline of what a sentence of {_title(data, split)} means: shared pixels over all (cIoU).",
        files=_files(data, split, layout),
        questions=lambda root, verbs: _questions(_read(root, data, split, layout, True, report), verbs, "segmentation"),
        score=lambda asked, said: mask_figures(pairs([(asked, said)]))["giou"],
        figures=figures,
        main="ciou",
        max_new_tokens=64,
    )


def expression_captions(
    data: Data = "refcocog",
    split: str = "val",
    *,
    layout: Layout = "refer",
    together: bool = False,
    words: MeteorWords | None = None,
    report: Report = LOG.warning,
) -> Benchmark:
    """What a thing is, its box given, in words that mean it: each expression is a reference of its own, as in PixelLLM's table of RefCOCOg.

    See `region_captions`; files are those of `expression_boxes`.
    """
    return region_captions(
        f"{_name(data, split, layout)}-captions",
        lambda root: _read(root, data, split, layout, False, report),
        files=_files(data, split, layout),
        source="expression",
        about=f"What a thing of {_title(data, split)} is, its box given: CIDEr-D, METEOR, ROUGE-L, BLEU-4 against its expressions.",
        together=together,
        words=words,
    )


def _read(root: Path, data: Data, split: str, layout: Layout, masks: bool, report: Report) -> Iterator[Example]:
    files, images = [root / name for name in _files(data, split, layout)], root / "coco" / "train2014"
    match layout:
        case "refer":
            return refcoco(files[0], files[1], split=split, images=images, masks=masks, report=report)
        case "mdetr":
            return mdetr_referring(files[0], images=images, masks=masks, report=report)
        case "seqtr":
            return uninext_referring(files[0], split, images=images, masks=masks, report=report)


def _files(data: Data, split: str, layout: Layout) -> tuple[str, ...]:
    match layout:
        case "refer":
            return f"{data}/{_REFS[data]}", f"{data}/instances.json"
        case "mdetr":
            return (f"mdetr/finetune_{data}_{split}.json",)
        case "seqtr":
            return (f"seqtr/{_SEQTR[data]}/instances.json",)


def _name(data: Data, split: str, layout: Layout) -> str:
    if split not in (*_SPLITS[data], "train"):
        raise ValueError(f"{data} has no split {split!r}; it has {', '.join(_SPLITS[data])}.")
    return f"{data}-{split}" if layout == "refer" else f"{data}-{split}-{layout}"


def _title(data: Data, split: str) -> str:
    title = data.replace("refcoco", "RefCOCO")
    return f"{title} {split}"


def _questions(examples: Iterator[Example], verbs: Verbs, verb: str) -> Iterator[Example]:
    verbs.of(verb, "it")
    for example in examples:
        for number, note in enumerate(note for note in example.notes if note.source == "expression"):
            if verb == "location" or all(isinstance(region, Mask) for region in note.said.regions):
                yield asked_about(example, number, verbs.of(verb, note.said.text), note.said)


def _true_boxes(asked: Example) -> list[Box]:
    return [bounding_box(region) for region in asked.notes[0].said.regions]


def _box_figures(answered: Sequence[Answered], as_published: bool) -> dict[str, Figure]:
    judged = [(judged_places(asked, said), _true_boxes(asked)) for asked, said in answered]
    single = [(said, truth[0]) for said, truth in judged if len(truth) == 1]
    figures: dict[str, Figure] = {}
    if single:
        shares = referring_figures(single, thresholds=_LEVELS)
        figures |= {name: share_figure(value, len(single)) for name, value in shares.items() if name != "mean_iou"}
        overlaps = pair_overlaps([first_box(said) for said, _ in single], [true for _, true in single])
        figures["mean_iou"] = mean_figure(overlaps.tolist())
    if len(single) < len(judged):
        counts = {"precision": len(judged), "n_acc": sum(not truth for _, truth in judged), "t_acc": sum(bool(truth) for _, truth in judged)}
        found = generalised_figures(judged)
        figures |= {"faultless" if name == "precision" else name: share_figure(value, counts[name]) for name, value in found.items()}
    if single and as_published:
        rows = {
            "mean": referring_figures(single, thresholds=[0.5], as_published="mean"),
            "best": referring_figures(single, thresholds=[0.5], as_published="best"),
            "above": referring_figures(single, thresholds=[0.5], strict=True),
        }
        figures |= {f"published/{name}@0.5": share_figure(row["precision@0.5"], len(single)) for name, row in rows.items()}
    return figures | calibration_figure(answered)


def _mask_figures(pairs: Sequence[tuple[Mask | None, Mask | None]]) -> dict[str, Figure]:
    found, there = mask_figures(pairs), [(said, true) for said, true in pairs if true is not None]
    both, either = shared_pixels(pairs).T.astype(float)
    each = [mask_figures([pair])["giou"] for pair in pairs]
    figures = {"giou": mean_figure(each)}
    if either.any():
        figures["ciou"] = bootstrap(np.stack([both, either], 1), lambda drawn: drawn[..., 0].sum(1) / np.maximum(drawn[..., 1].sum(1), 1))
    else:
        figures["ciou"] = mean_figure(each)
    figures |= {name: share_figure(value, len(there)) for name, value in found.items() if name.startswith("precision@") or name == "t_acc"}
    if "n_acc" in found:
        figures["n_acc"] = share_figure(found["n_acc"], len(pairs) - len(there))
    if there:
        right = boxes_agree(mask_boxes([said for said, _ in there]), [bounding_box(true) for _, true in there])
        figures["box_precision@0.5"] = mean_figure([float(one) for one in right])
    return figures


def _answered_outline(asked: Example, said: GroundedText, every: bool) -> Mask | None:
    """As `_outlined`, and a single pixel where there is nothing and that was not said (`judged_places`)."""
    if judged_places(asked, said) is said:
        return _outlined(asked, said, every)
    width, height = asked.images[0].width, asked.images[0].height
    return Mask(width, height, (0, 1, width * height - 1))


def _outlined(asked: Example, said: GroundedText, every: bool) -> Mask | None:
    """The mask that is said, of the first region or of all together, in the picture's own pixels; None where none sets a pixel."""
    size = asked.images[0].width, asked.images[0].height
    masks = [region for region in said.regions if isinstance(region, Mask)]
    bits = [rasterise(mask, size) for mask in (masks if every else masks[:1])]
    whole = np.logical_or.reduce(bits) if bits else np.zeros((1, 1), dtype=bool)
    return encode_mask(whole) if whole.any() else None


OFFICIAL: tuple[Benchmark, ...] = (
    *(expression_boxes(data, split) for data, splits in _SPLITS.items() for split in splits),
    *(expression_masks(data, split) for data, splits in _SPLITS.items() for split in splits),
    expression_captions(),
)
"""All splits that papers report, on the files of the data sets' own site."""
