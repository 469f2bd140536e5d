"""Benchmarks of questions about natural pictures, diagrams and text in scenes, on their official files.

| folder below the root of all data | holds |
|---|---|
| `coco/val2014` | COCO's pictures, for VQAv2 and OK-VQA |
| `vqav2` | `v2_OpenEnded_mscoco_val2014_questions.json`, `v2_mscoco_val2014_annotations.json` |
| `okvqa` | `OpenEnded_mscoco_val2014_questions.json`, `mscoco_val2014_annotations.json` |
| `vizwiz` | `val.json`, pictures in `val` |
| `gqa` | `testdev_balanced_questions.json`, pictures in `images` |
| `scienceqa` | `problems.json`, pictures in `images`: `test/5/image.png` |
| `textvqa` | `TextVQA_0.5.1_val.json`, pictures in `train_images` |
| `ai2d` | folders `questions`, `images` and `abc_images`, `ai2d_test_ids.csv` |
| `st-vqa` | `train_task_3.json`, beside the folders of pictures (`coco-text` …) |
| `estvqa` | `annotations/train.json`, pictures in `images/train` |
| `ocr-vqa` | `dataset.json`, pictures in `images` |

`as_published` scores as the script behind Monkey's published figures does; the questions are the same, but for AI2D's.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from foveal.data.sources import documents
from foveal.data.sources import questions as sources
from foveal.evaluate.answers import anls, contains_answer, exact_match, gqa_match
from foveal.evaluate.benchmark import Benchmark
from foveal.evaluate.benchmarks.posed import by_rule, kinds_of, options, pick, plainly, posed, published, words_of
from foveal.evaluate.vqa import vqa_accuracy
from foveal.grounding import Example, GroundedText
from foveal.grounding.wordings.questions import ask_answerable
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["OFFICIAL", "ai2d", "est_vqa", "gqa", "ocr_vqa", "ok_vqa", "science_qa", "st_vqa", "text_vqa", "viz_wiz", "vqa_v2"]

_PEOPLE = "VQA accuracy: how far ten people agree"


def vqa_v2(split: str = "val", *, as_published: bool = False) -> Benchmark:
    """VQAv2 (Goyal et al. 2017): VQA accuracy, and that of each answer type ("yes/no", "number", "other"). `split` is "val" or "train"."""
    return _of_coco("vqav2", "v2_OpenEnded_mscoco", "v2_mscoco", split, as_published)


def ok_vqa(split: str = "val", *, as_published: bool = False) -> Benchmark:
    """OK-VQA (Marino et al. 2019), questions that want knowledge: VQA accuracy."""
    return _of_coco("okvqa", "OpenEnded_mscoco", "mscoco", split, as_published)


def viz_wiz(split: str = "val", *, as_published: bool = False) -> Benchmark:
    """VizWiz (Gurari et al. 2018), asked by blind people: VQA accuracy, "unanswerable" being an answer that is asked for, and that of each type."""

    def ask(example: Example, verbs: Verbs) -> GroundedText:
        return ask_answerable(words_of(example), verbs.family)

    return posed(
        published(f"vizwiz-{split}", as_published),
        f"VizWiz {split}, blind people's questions. {_PEOPLE}.",
        (f"vizwiz/{split}.json",),
        lambda root: sources.vizwiz(root / f"vizwiz/{split}.json", images=root / "vizwiz" / split),
        by_rule(lambda said, people: vqa_accuracy(said, people, as_published=as_published)),
        ask=ask,
        kind="answer_type",
    )


def gqa(split: str = "testdev_balanced", *, as_published: bool = False) -> Benchmark:
    """GQA (Hudson and Manning 2019): the answer itself, and the share right of each structural type; as published, a cleaned answer contains it."""
    return posed(
        published(f"gqa-{split.removesuffix('_balanced')}", as_published),
        f"GQA {split.replace('_', ' ')}. Right is the answer itself." if not as_published else f"GQA {split}. Right is what contains the answer.",
        (f"gqa/{split}_questions.json",),
        lambda root: sources.gqa(root / f"gqa/{split}_questions.json", images=root / "gqa/images"),
        by_rule(lambda said, truth: gqa_match(said, truth[0], as_published=as_published)),
        kind=kinds_of("question_type", "structural"),
    )


def science_qa(split: str = "test") -> Benchmark:
    """ScienceQA's problems with a picture (Lu et al. 2022): the right option, chosen by its letter or words, and the share right of each subject.

    Qwen-VL's script compares how likely the options are; here a model answers.
    """
    return posed(
        f"scienceqa-{split}",
        f"ScienceQA {split}, problems with a picture. Right is the option's letter or words.",
        ("scienceqa/problems.json",),
        lambda root: sources.science_qa(root / "scienceqa/problems.json", split=split, images=root / "scienceqa/images"),
        pick,
        ask=options,
        kind="subject",
    )


def text_vqa(split: str = "val", *, as_published: bool = False) -> Benchmark:
    """TextVQA (Singh et al. 2019), text in photographs: VQA accuracy."""
    return posed(
        published(f"textvqa-{split}", as_published),
        f"TextVQA {split}, text in photographs. {_PEOPLE}.",
        (f"textvqa/TextVQA_0.5.1_{split}.json",),
        lambda root: documents.text_vqa(root / f"textvqa/TextVQA_0.5.1_{split}.json", images=root / "textvqa/train_images"),
        by_rule(lambda said, people: vqa_accuracy(said, people, as_published=as_published)),
    )


def ai2d(*, as_published: bool = False) -> Benchmark:
    """AI2D's test questions about diagrams (Kembhavi et al. 2016): the right option by its letter or words; as published, the question alone is
    asked, and right is what contains the answer. Where a question means letters, the diagram with letters in place of words is shown."""

    def read(root: Path) -> Iterator[Example]:
        folder = root / "ai2d"
        for example in documents.ai2d(folder / "questions", test_ids=folder / "ai2d_test_ids.csv", images=folder / "images"):
            if example.facts["split"] == "test":
                lettered = [replace(one, path=str(folder / "abc_images" / Path(str(one.path)).name)) for one in example.images]
                yield replace(example, images=tuple(lettered)) if example.facts.get("abc_label") else example

    return posed(
        published("ai2d-test", as_published),
        "AI2D test, diagrams. Right is what contains the answer." if as_published else "AI2D test, diagrams. Right is the option's letter or words.",
        ("ai2d/ai2d_test_ids.csv",),
        read,
        by_rule(lambda said, truth: contains_answer(said, truth, as_published="monkey")) if as_published else pick,
        ask=plainly if as_published else options,
    )


def st_vqa(file: str = "train_task_3.json", *, as_published: bool = False) -> Benchmark:
    """ST-VQA (Biten et al. 2019), text in scenes: ANLS. Of its files only that of the training set has answers; it is what the benchmark of reading
    behind Monkey's figures (arXiv 2305.07895) asks of models that did not learn from it."""
    return posed(
        published(f"st-vqa-{file.partition('_')[0]}", as_published),
        f"ST-VQA, {file}, text in scenes. ANLS.",
        (f"st-vqa/{file}",),
        lambda root: documents.st_vqa(root / "st-vqa" / file, images=root / "st-vqa"),
        by_rule(lambda said, truth: anls(said, truth, as_published="monkey" if as_published else None)),
        max_new_tokens=100,
    )


def est_vqa(split: str = "train", *, as_published: bool = False) -> Benchmark:
    """EST-VQA (Wang et al. 2020), text in scenes: ANLS. As with ST-VQA, the training set is what has answers."""
    return posed(
        published(f"estvqa-{split}", as_published),
        f"EST-VQA {split}, text in scenes. ANLS.",
        (f"estvqa/annotations/{split}.json",),
        lambda root: sources.est_vqa(root / f"estvqa/annotations/{split}.json", images=root / "estvqa/images" / split),
        by_rule(lambda said, truth: anls(said, truth, as_published="monkey" if as_published else None)),
        max_new_tokens=100,
    )


def ocr_vqa(split: str = "test") -> Benchmark:
    """OCR-VQA (Mishra et al. 2019), book covers: the answer itself, but for case and spacing."""
    return posed(
        f"ocr-vqa-{split}",
        f"OCR-VQA {split}, book covers. Right is the answer itself.",
        ("ocr-vqa/dataset.json",),
        lambda root: documents.ocr_vqa(root / "ocr-vqa/dataset.json", split=split, images=root / "ocr-vqa/images"),
        by_rule(exact_match),
        max_new_tokens=100,
    )


def _of_coco(folder: str, asked: str, told: str, split: str, as_published: bool) -> Benchmark:
    files = (f"{folder}/{asked}_{split}2014_questions.json", f"{folder}/{told}_{split}2014_annotations.json")
    return posed(
        published(f"{folder}-{split}", as_published),
        f"{'VQAv2' if folder == 'vqav2' else 'OK-VQA'} {split}. {_PEOPLE}.",
        files,
        lambda root: sources.vqa(*(root / file for file in files), images=root / f"coco/{split}2014"),
        by_rule(lambda said, people: vqa_accuracy(said, people, as_published=as_published)),
        kind="answer_type",
    )


_BOTH = (vqa_v2, ok_vqa, viz_wiz, gqa, text_vqa, ai2d, st_vqa, est_vqa)
OFFICIAL: tuple[Benchmark, ...] = (
    *(make() for make in _BOTH),
    science_qa(),
    ocr_vqa(),
    *(make(as_published=True) for make in _BOTH),
)
"""Those of the splits whose answers are published."""
