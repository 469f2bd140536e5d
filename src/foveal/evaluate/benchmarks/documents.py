"""Benchmarks of questions about documents, charts, tables and web pages, on their official files.

| folder below the root of all data | holds |
|---|---|
| `docvqa` | `val_v1.0_withQT.json`, pictures in `documents` |
| `infographicvqa` | `infographicsVQA_val_v1.0_withQT.json`, pictures in `images` |
| `chartqa` | the folder `test`: `test_human.json`, `test_augmented.json`, pictures in `png` |
| `due` | a folder for each of DUE's sets (`DeepForm`, `KleisterCharity`, `WikiTableQuestions`, `TabFact`, `DocVQA`, `InfographicsVQA`): \
`test/document.jsonl`, rendered pages in `png` |
| `visualmrc` | `test.jsonl`, pictures in `images` |

`as_published` scores as the script behind Monkey's published figures does; the questions are the same.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from foveal.data.sources import documents as sources
from foveal.evaluate.answers import anls, contains_answer, exact_match, relaxed_match
from foveal.evaluate.benchmark import Benchmark, mean_figure
from foveal.evaluate.benchmarks.asking import named_facts
from foveal.evaluate.benchmarks.captioned import captions_judged, like_references
from foveal.evaluate.benchmarks.posed import Ask, Rule, Score, by_rule, plainly, posed, published, truths, words_of
from foveal.evaluate.hallucination import yes_or_no
from foveal.evaluate.kept import Answered
from foveal.evaluate.regions import Figure
from foveal.grounding import Example, GroundedText
from foveal.grounding.wordings.questions import ask_entailed, ask_field
from foveal.grounding.wordings.verbs import Verbs

__all__ = ["OFFICIAL", "chart_qa", "deep_form", "doc_vqa", "due_vqa", "infographic_vqa", "kleister", "tab_fact", "visual_mrc", "wiki_tables"]


def doc_vqa(split: str = "val", *, as_published: bool = False) -> Benchmark:
    """DocVQA (Mathew et al. 2021), one page: ANLS, and that of each type of question. The answers of its test set are not published here."""
    file = f"docvqa/{split}_v1.0_withQT.json"
    return posed(
        published(f"docvqa-{split}", as_published),
        f"DocVQA {split}, pages of documents. ANLS.",
        (file,),
        lambda root: sources.doc_vqa(root / file, images=root / "docvqa"),
        _alike("monkey" if as_published else ""),
        kind="question_type",
        max_new_tokens=100,
    )


def infographic_vqa(split: str = "val", *, as_published: bool = False) -> Benchmark:
    """InfographicVQA (Mathew et al. 2022): ANLS, and that of each type of answer; as published, by its official script."""
    file = f"infographicvqa/infographicsVQA_{split}_v1.0_withQT.json"
    return posed(
        published(f"infographicvqa-{split}", as_published),
        f"InfographicVQA {split}. ANLS.",
        (file,),
        lambda root: sources.infographics_vqa(root / file, images=root / "infographicvqa/images"),
        _alike("infographics" if as_published else ""),
        kind="answer_type",
        max_new_tokens=100,
    )


def due_vqa(name: str, *, as_published: bool = False) -> Benchmark:
    """The test set of DocVQA or InfographicVQA with answers, in DUE's form: `name` is "DocVQA" or "InfographicsVQA". ANLS."""
    short = name.lower().replace("infographicsvqa", "infographicvqa")
    return _of_due(name, f"{short}-test", "ANLS", _alike("monkey" if as_published else ""), as_published)


def chart_qa(split: str = "test", *, as_published: bool = False) -> Benchmark:
    """ChartQA (Masry et al. 2022): relaxed accuracy, within 5 % of the true number, and that of people's and of made questions; as published, within
    5 % of what the model said."""
    files = tuple(f"chartqa/{split}/{split}_{part}.json" for part in ("human", "augmented"))

    def read(root: Path) -> Iterator[Example]:
        return (example for file in files for example in sources.chart_qa(root / file, images=root / f"chartqa/{split}/png"))

    return posed(
        published(f"chartqa-{split}", as_published),
        f"ChartQA {split}. Right is a number within 5 %, or the same words.",
        files,
        read,
        by_rule(lambda said, truth: relaxed_match(said.strip(), truth, as_published=as_published)),
        kind=lambda example: [str(example.facts["set"]).removeprefix(f"{split}_")],
        max_new_tokens=100,
    )


def deep_form(*, as_published: bool = False) -> Benchmark:
    """DeepForm's test set (DUE), fields of advertising forms: the value itself, but for case and spacing; as published, it is contained.

    Every field that is asked has a value, so that the share right is DUE's F1 where every question is answered. Forms have several pages; the
    first is shown, and `one_page` and `several_pages` tell their shares right.
    """
    return _of_due("DeepForm", "deepform-test", "Right is the field's value", _itself(as_published), as_published, ask=_field)


def kleister(*, as_published: bool = False) -> Benchmark:
    """KleisterCharity's test set (DUE), fields of charities' reports; as `deep_form`."""
    return _of_due("KleisterCharity", "klc-test", "Right is the field's value", _itself(as_published), as_published, ask=_field)


def wiki_tables(*, as_published: bool = False) -> Benchmark:
    """WikiTableQuestions' test set (DUE), rendered tables: all values and no others, in any order, but for case and spacing; as published, the
    first line of values is contained."""

    def score(asked: Example, said: GroundedText) -> float:
        several = asked.facts.get("values")
        values = [truths(asked)] if not isinstance(several, list | tuple) else [list(one) for one in several]
        return float(exact_match(said.text, truths(asked)) or _all_said(said.text, values))

    scored = _itself(True) if as_published else score
    return _of_due("WikiTableQuestions", "wtq-test", "Right are all values", scored, as_published)


def tab_fact() -> Benchmark:
    """TabFact's test set (DUE): whether a table says so, yes or no, as it is; what is neither is wrong."""

    def ask(example: Example, verbs: Verbs) -> GroundedText:
        return ask_entailed(words_of(example))

    def worded(example: Example) -> Example:
        holds = {str(answer).strip().lower() for answer in named_facts(example, "answers")} & {"1", "yes", "true", "entailed"}
        return replace(example, facts=dict(example.facts) | {"answers": ["yes" if holds else "no"]})

    score = by_rule(lambda said, truth: float(yes_or_no(said) == truth[0]))
    return _of_due("TabFact", "tabfact-test", "Right is yes or no, as it is", score, False, ask=ask, worded=worded)


def visual_mrc(split: str = "test") -> Benchmark:
    """VisualMRC (Tanaka et al. 2021), web pages, answers in sentences: CIDEr, and as captions are judged BLEU-4, ROUGE-L and METEOR."""
    return posed(
        f"visualmrc-{split}",
        f"VisualMRC {split}, web pages. CIDEr of the answer.",
        (f"visualmrc/{split}.jsonl",),
        lambda root: sources.visual_mrc(root / f"visualmrc/{split}.jsonl", images=root / "visualmrc"),
        like_references,
        ask=lambda example, verbs: GroundedText(words_of(example)),
        figures=captions_judged,
        main="cider",
        max_new_tokens=128,
    )


def _of_due(
    name: str,
    short: str,
    right: str,
    score: Score,
    as_published: bool,
    ask: Ask = plainly,
    worded: Callable[[Example], Example] = lambda example: example,
) -> Benchmark:
    file = f"due/{name}/test/document.jsonl"

    def by_pages(answered: Sequence[Answered]) -> Mapping[str, Figure]:
        parts: dict[str, list[float]] = {"one_page": [], "several_pages": []}
        for asked, said in answered:
            parts["several_pages" if "pages" in asked.facts else "one_page"].append(score(asked, said))
        return {part: mean_figure(values) for part, values in parts.items() if values and parts["several_pages"]}

    return posed(
        published(short, as_published),
        f"{name} test, in DUE's form, the first page. {right}.",
        (file,),
        lambda root: map(worded, sources.due(root / file, images=root / f"due/{name}/png")),
        score,
        ask=ask,
        facts=("values",),
        figures=by_pages,
        max_new_tokens=100,
    )


def _alike(as_published: Literal["monkey", "infographics", ""]) -> Score:
    return by_rule(lambda said, truth: anls(said, truth, as_published=as_published or None))


def _itself(as_published: bool) -> Score:
    rule: Rule = (lambda said, truth: contains_answer(said, truth, as_published="monkey")) if as_published else exact_match
    return by_rule(rule)


def _all_said(said: str, values: Sequence[Sequence[str]]) -> bool:
    """Whether the parts of what was said between commas (or bars) are the values, each once, each by one of its spellings."""
    parts = [part for part in said.replace("||", "|").replace(", ", "|").split("|") if part.strip()]
    left = [list(one) for one in values]
    for part in parts:
        place = next((number for number, one in enumerate(left) if exact_match(part, one)), None)
        if place is None:
            return False
        del left[place]
    return not left


def _field(example: Example, verbs: Verbs) -> GroundedText:
    return ask_field(words_of(example))


_BOTH = (doc_vqa, infographic_vqa, chart_qa, deep_form, kleister, wiki_tables)
OFFICIAL: tuple[Benchmark, ...] = (
    *(make() for make in _BOTH),
    *(due_vqa(name) for name in ("DocVQA", "InfographicsVQA")),
    tab_fact(),
    visual_mrc(),
    *(make(as_published=True) for make in _BOTH),
    *(due_vqa(name, as_published=True) for name in ("DocVQA", "InfographicsVQA")),
)
"""Those of the splits whose answers are published."""
