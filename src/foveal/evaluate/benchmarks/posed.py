"""What benchmarks of known answers share: questions of a source put in a family's words, picture by picture, and means by kind of question."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from foveal.evaluate.answers import choice_said
from foveal.evaluate.benchmark import Benchmark, mean_figure, score_of
from foveal.evaluate.kept import Answered
from foveal.evaluate.regions import Figure
from foveal.grounding import Example, GroundedText, Note, Turn
from foveal.grounding.wordings.questions import ask_briefly, ask_option
from foveal.grounding.wordings.verbs import Verbs

__all__ = [
    "Ask",
    "Rule",
    "Score",
    "by_kind",
    "by_rule",
    "id_below",
    "kinds_of",
    "options",
    "pick",
    "plainly",
    "posed",
    "published",
    "truths",
    "words_of",
]

Ask = Callable[[Example, Verbs], GroundedText]
"""How a source's example is asked."""
Rule = Callable[[str, list[str]], float]
"""How right a text is beside the true answers, from 0 to 1."""
Score = Callable[[Example, GroundedText], float]
"""Of a question and an answer, from 0 to 1."""


def plainly(example: Example, verbs: Verbs) -> GroundedText:
    """The source's question, to be answered briefly."""
    return ask_briefly(words_of(example), verbs.family)


def options(example: Example, verbs: Verbs) -> GroundedText:
    """The source's question with its choices, to be answered by a letter."""
    hint = str(example.facts.get("hint", ""))
    return ask_option(words_of(example), _texts(example.facts["choices"]), verbs.family, hint)


def posed(
    name: str,
    about: str,
    files: tuple[str, ...],
    read: Callable[[Path], Iterable[Example]],
    score: Score,
    *,
    ask: Ask = plainly,
    kind: str | Callable[[Example], Iterable[str]] = "",
    facts: Sequence[str] = (),
    figures: Callable[[Sequence[Answered]], Mapping[str, Figure]] | None = None,
    main: str = "score",
    max_new_tokens: int = 10,
) -> Benchmark:
    """The benchmark of a source's questions, each with its answers as notes with source "truth", the one that most people gave first.

    Of the source's facts the answers depend on those in `facts` are kept, "choices", and as "kinds" what `kind` tells: a fact's name, or what
    it makes of an example; the figures are the mean scores of each kind unless others are given. A question without a picture or without
    an answer is left out; of several pages the first is shown, and the fact "pages" counts them. ValueError where no question is left.
    """
    told = kinds_of(kind) if isinstance(kind, str) else kind

    def one(example: Example, verbs: Verbs, root: Path) -> Example:
        answers, said = _texts(example.facts["answers"]), example.turns[-1].said.text
        kept: dict[str, object] = {key: example.facts[key] for key in ("choices", *facts) if key in example.facts}
        kept |= {"kinds": list(told(example))} | ({"pages": len(example.images)} if len(example.images) > 1 else {})
        return replace(
            example,
            id=id_below(example, root),
            images=example.images[:1],
            turns=(Turn("user", ask(example, verbs)),),
            notes=tuple(Note(GroundedText(answer), "truth") for answer in sorted(answers, key=lambda answer: answer != said)),
            facts={key: value for key, value in kept.items() if value != []},
        )

    def questions(root: Path, verbs: Verbs) -> Iterator[Example]:
        pictures: dict[str | None, list[Example]] = {}
        for example in read(root):
            if example.images and example.facts.get("answers"):
                pictures.setdefault(example.images[0].path, []).append(one(example, verbs, root))
        if not pictures:
            raise ValueError(f"benchmark {name} finds no question with a picture and an answer in {root / files[0] if files else root}.")
        return (example for several in pictures.values() for example in several)

    return Benchmark(
        name=name,
        about=about,
        files=files,
        questions=questions,
        score=score,
        figures=figures or by_kind(score),
        main=main,
        max_new_tokens=max_new_tokens,
    )


def id_below(example: Example, root: Path) -> str:
    """A question's id behind its picture's place below the root of all data, so that questions about one picture are known by what stands before
    the last slash.

    >>> from foveal.grounding import Picture
    >>> id_below(Example("7/1", (Picture(4, 2, "data/set/5/image.png"),)), Path("data"))
    'set/5/image/7-1'
    """
    place = Path(str(example.images[0].path)).relative_to(root).with_suffix("")
    return f"{place.as_posix()}/{example.id.replace('/', '-')}"


def published(name: str, as_published: bool) -> str:
    """The name of a benchmark, or of its twin that scores as published figures were made.

    >>> published("gqa-testdev", True)
    'gqa-testdev-as-published'
    """
    return f"{name}-as-published" if as_published else name


def words_of(example: Example) -> str:
    """The source's question."""
    return example.turns[0].said.text


def truths(asked: Example) -> list[str]:
    """The true answers of a question, as many times as they were given."""
    return [note.said.text for note in asked.notes if note.source == "truth"]


def by_rule(rule: Rule) -> Score:
    """The score of an answer's words beside the true answers."""
    return lambda asked, said: float(rule(said.text, truths(asked)))


def pick(asked: Example, said: GroundedText) -> float:
    """Whether an answer chooses the right one of the choices, by letter or words, and no other.

    >>> asked = Example("1", notes=(Note(GroundedText("a dog"), "truth"),), facts={"choices": ["a cat", "a dog"]})
    >>> [pick(asked, GroundedText(answer)) for answer in ("B", "a dog", "A", "a cat or a dog")]
    [1.0, 1.0, 0.0, 0.0]
    """
    choices = _texts(asked.facts["choices"])
    place = choice_said(said.text, choices)
    return float(place is not None and choices[place] in truths(asked))


def kinds_of(fact: str, part: str = "") -> Callable[[Example], list[str]]:
    """The kinds of a question that a fact tells: a text, a list of them, or the entry `part` of an object.

    >>> kinds_of("question_type", "structural")(Example("1", facts={"question_type": {"structural": "query"}}))
    ['query']
    """

    def told(example: Example) -> list[str]:
        found = example.facts.get(fact)
        found = found.get(part) if isinstance(found, Mapping) else found
        return [] if found is None else _texts(found)

    return told


def by_kind(score: Score) -> Callable[[Sequence[Answered]], Mapping[str, Figure]]:
    """The mean score of the questions of each kind; a question of several kinds counts in each."""

    def figures(answered: Sequence[Answered]) -> Mapping[str, Figure]:
        parts: dict[str, list[float]] = {}
        for asked, said in answered:
            for kind in _texts(asked.facts.get("kinds", ())):
                parts.setdefault(kind, []).append(score_of(score, asked, said))
        return {kind: mean_figure(parts[kind]) for kind in sorted(parts)}

    return figures


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]
