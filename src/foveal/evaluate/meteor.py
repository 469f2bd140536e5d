"""METEOR 1.5 for English: captions judged by an alignment of words that are the same, have the same stem, or mean the same."""

import gzip
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from os import PathLike
from pathlib import Path

import numpy as np

from foveal.evaluate.alignment import Match, align, count_runs
from foveal.evaluate.captions import Candidates, CaptionScore, References, Tokens, paired_captions
from foveal.evaluate.stems import english_stem
from foveal.evaluate.tokens import caption_tokens

__all__ = [
    "FUNCTION_WORDS",
    "MeteorParameters",
    "MeteorWords",
    "frequent_words",
    "meteor",
    "meteor_tokens",
    "read_bases",
    "read_function_words",
    "read_paraphrases",
    "read_synonyms",
]

_Phrase = tuple[str, ...]

_CLOSED = """a an the this that some all no not i you he she it we they his her its their who which what there and or but if than so as when of
to in for on with at by from about into over out up after is are was were be been have has had do will would can could 's 't ' -lrb- -rrb-
, . : ; ? ! --"""

FUNCTION_WORDS = frozenset(_CLOSED.split())
"""Words that count less: by METEOR's definition those that make up more than a thousandth of much text. These are the ones among them that
belong to the closed classes of English (articles, pronouns, conjunctions, prepositions, auxiliaries, clitics, marks), on any subject."""


@dataclass(frozen=True, slots=True)
class MeteorParameters:
    """METEOR's weights; as they stand, those of version 1.5 for English, tuned to rankings by people (Denkowski and Lavie 2014)."""

    alpha: float = 0.85
    """How much recall counts beside precision, in their harmonic mean."""
    beta: float = 0.2
    gamma: float = 0.6
    """An alignment with `frag` runs for each matched word loses the share gamma * frag ** beta."""
    delta: float = 0.75
    """How much a word of content counts; one of `function` counts 1 - delta."""
    kinds: tuple[float, float, float, float] = (1.0, 0.6, 0.8, 0.6)
    """How much a match counts that is exact, by stem, by synonym, by paraphrase."""
    beam: int = 40


@dataclass(frozen=True, slots=True)
class MeteorWords:
    """What METEOR knows of words. Synonyms and paraphrases match where they are given; METEOR's own tables can be read (`read_synonyms`, ...)."""

    function: Collection[str] = FUNCTION_WORDS
    synonyms: Mapping[str, Collection[str]] = field(default_factory=dict)
    """The names of the sets of synonyms a word is in."""
    bases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Base forms of irregular words ("men": "man"), looked up in `synonyms` too; those of regular ones are made by WordNet's rules."""
    paraphrases: Mapping[_Phrase, Sequence[_Phrase]] = field(default_factory=dict)


def meteor(
    candidates: Candidates,
    references: References,
    *,
    words: MeteorWords | None = None,
    parameters: MeteorParameters | None = None,
    tokens: Tokens | None = None,
) -> CaptionScore:
    """METEOR 1.5 (Denkowski and Lavie 2014) of each caption by its best reference; `value` is of the summed counts, as METEOR gives it for a set.

    P R / (alpha P + (1 - alpha) R) of the matched words, weighed by kind of match and of word, times 1 - gamma * (runs / matches) ** beta. With
    METEOR's own tables the scores are the original's; without synonyms and paraphrases they are lower, by 0.015 for COCO captions.

    >>> meteor(["a man rides a horse", "a dog"], [["a man is riding a horse"], ["the cat", "a dog"]]).each.round(3).tolist()
    [0.414, 1.0]
    """
    known, weights, split = words or MeteorWords(), parameters or MeteorParameters(), tokens or meteor_tokens
    said, sets = paired_captions(candidates, references)
    sentences = {text: tuple(split(text)) for text in dict.fromkeys(chain(said, *sets))}
    sides = {text: _weight(sentence, known, weights) for text, sentence in sentences.items()}
    synsets = {word: _synsets(word, known) for word in set(chain.from_iterable(sentences.values()))} if known.synonyms else {}
    longest = max(map(len, known.paraphrases), default=0)
    seen: dict[tuple[str, str], tuple[float, ...]] = {}
    best = np.zeros((len(said), 8))
    for place, (text, several) in enumerate(zip(said, sets, strict=True)):
        top = -1.0
        for reference in several:
            if (pair := (text, reference)) not in seen:
                options = _options(sentences[text], sentences[reference], known, synsets, longest)
                seen[pair] = (*sides[text], *sides[reference], *_matched(options, sentences[text], sentences[reference], known, weights))
            if (score := _score(seen[pair], weights)) > top:
                top, best[place] = score, seen[pair]
    each = np.array([_score(tuple(counts), weights) for counts in best.tolist()])
    return CaptionScore(_score(tuple(best.sum(0).tolist()), weights), each)


def meteor_tokens(caption: str) -> tuple[str, ...]:
    """The words METEOR counts in a caption when it is run as in the COCO caption evaluation: `caption_tokens`, split further by METEOR's own rules.

    Hyphens and slashes part words, contractions part at the apostrophe, once more ("'s" is two tokens), and "u.s." loses its full stops.

    >>> meteor_tokens("He can't wear a T-shirt in the U.S. today")
    ('he', 'ca', 'n', "'t", 'wear', 'a', 't', 'shirt', 'in', 'the', 'us', 'today')
    """
    line = re.sub(r"([^\w\s.'`,-]|_)", r" \1 ", " ".join(caption_tokens(caption)))
    line = re.sub(r"([^\W_]|\.)-([^\W_])", r"\1 \2", f" {line.replace('--', '-').replace('`', chr(39))} ")
    line = re.sub(r"(?<=[\W_])'|(?<=\d)'(?=[\W\d_])|(?<=[^\W\d_])'(?=[\W\d_])", " ' ", line)
    line = re.sub(r"(?<=[^\W\d_])'(?=[^\W\d_])|(?<=\d)'(?=s)", " '", line)
    split = line.split()
    return tuple(chain.from_iterable(_undotted(word, after) for word, after in zip(split, [*split, ""][1:], strict=True)))


def frequent_words(texts: Iterable[str], *, share: float = 1e-3, tokens: Tokens = meteor_tokens) -> frozenset[str]:
    """Function words by METEOR's definition: those that are more than `share` of all words of a large, general collection of texts.

    >>> sorted(frequent_words(["the cat and the dog", "the end"], share=0.3))
    ['the']
    """
    counts = Counter(chain.from_iterable(map(tokens, texts)))
    return frozenset(word for word, count in counts.items() if count > share * counts.total())


def read_function_words(path: str | PathLike[str]) -> frozenset[str]:
    """Function words from a file with one on each line, as METEOR keeps them."""
    return frozenset(Path(path).read_text(encoding="utf-8").split())


def read_synonyms(path: str | PathLike[str]) -> dict[str, frozenset[str]]:
    """Synonyms from METEOR's file of them: a line with a word, a line with the names of its sets, and so on."""
    return {word: frozenset(names.split()) for word, names in _pairs_of_lines(path)}


def read_bases(path: str | PathLike[str]) -> dict[str, list[str]]:
    """Irregular words from METEOR's file of exceptions: a line with a base form, a line with its forms, and so on."""
    bases: dict[str, list[str]] = {}
    for base, forms in _pairs_of_lines(path):
        for form in forms.split():
            bases.setdefault(form, []).append(base)
    return bases


def read_paraphrases(path: str | PathLike[str], texts: Iterable[str], *, tokens: Tokens = meteor_tokens) -> dict[_Phrase, list[_Phrase]]:
    """Paraphrases from METEOR's packed table (a line with a probability, one with a phrase, one with its paraphrase, and so on).

    Only those are kept whose words all occur in `texts`, those that are to be judged and the references: the whole table has millions.
    """
    occurring, found = set(chain.from_iterable(map(tokens, texts))), dict[_Phrase, list[_Phrase]]()
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for _, phrase, other in zip(lines, lines, lines, strict=True):
            if occurring.issuperset(here := tuple(phrase.split())) and occurring.issuperset(there := tuple(other.split())):
                found.setdefault(here, []).append(there)
    return found


def _options(said: _Phrase, true: _Phrase, known: MeteorWords, synsets: Mapping[str, frozenset[str]], longest: int) -> list[list[Match]]:
    """What may be matched, at each word of the reference where it begins."""
    words, stems = dict[str, list[int]](), dict[str, list[int]]()
    for place, word in enumerate(said):
        words.setdefault(word, []).append(place)
        stems.setdefault(english_stem(word), []).append(place)
    options = [[Match(0, start, 1, place, 1) for place in words.get(word, ())] for start, word in enumerate(true)]
    if said == true:
        return options
    for start, word in enumerate(true):
        options[start] += [Match(1, start, 1, place, 1) for place in stems.get(english_stem(word), ()) if said[place] != word]
        if names := synsets.get(word):
            alike = (place for place, other in enumerate(said) if other != word and not synsets[other].isdisjoint(names))
            options[start] += [Match(2, start, 1, place, 1) for place in alike]
    for start, length, place, width in _paraphrased(true, said, known.paraphrases, longest):
        options[start].append(Match(3, start, length, place, width))
    for place, width, start, length in _paraphrased(said, true, known.paraphrases, longest):
        options[start].append(Match(3, start, length, place, width))
    return options


def _paraphrased(here: _Phrase, there: _Phrase, table: Mapping[_Phrase, Sequence[_Phrase]], longest: int) -> Iterable[tuple[int, int, int, int]]:
    """Where a phrase of one sentence has a paraphrase in the other: begin and length here, begin and length there."""
    for start in range(len(here) if table else 0):
        for length in range(1, min(longest, len(here) - start) + 1):
            for other in table.get(here[start : start + length], ()):
                for place in range(len(there) - len(other) + 1):
                    if there[place : place + len(other)] == other:
                        yield start, length, place, len(other)


def _matched(options: Sequence[Sequence[Match]], said: _Phrase, true: _Phrase, known: MeteorWords, weights: MeteorParameters) -> tuple[float, ...]:
    """Runs, matched words of both sides, and their weights on both sides."""
    chosen = align(options, len(said), beam=weights.beam)
    here = sum(weights.kinds[match.kind] * _weight(said[match.place : match.place + match.width], known, weights)[1] for match in chosen)
    there = sum(weights.kinds[match.kind] * _weight(true[match.start : match.start + match.length], known, weights)[1] for match in chosen)
    return count_runs(chosen), sum(match.width + match.length for match in chosen), here, there


def _weight(sentence: _Phrase, known: MeteorWords, weights: MeteorParameters) -> tuple[int, float]:
    """How many words, and how much they count."""
    functional = sum(word in known.function for word in sentence)
    return len(sentence), weights.delta * (len(sentence) - functional) + (1 - weights.delta) * functional


def _score(counts: tuple[float, ...], weights: MeteorParameters) -> float:
    length, weight, true_length, true_weight, runs, matched, here, there = counts
    if not here or not there:
        return 0.0
    precision, recall = here / weight, there / true_weight
    mean = 1 / ((1 - weights.alpha) / precision + weights.alpha / recall)
    whole = runs == 1 and matched == length + true_length
    return mean * (1 - (0 if whole else weights.gamma * (2 * runs / matched) ** weights.beta))


def _synsets(word: str, known: MeteorWords) -> frozenset[str]:
    """The sets of synonyms of a word and of its base forms."""
    bases = known.bases.get(word)
    if bases is None and len(word) > 2 and not word.endswith("ss"):
        regular = (word.removesuffix(ending) + instead for ending, instead in _DETACHED if word.endswith(ending))
        bases = [next((base for base in regular if base in known.synonyms), "")]
    return frozenset(chain.from_iterable(known.synonyms.get(form, ()) for form in (word, *(bases or ()))))


_DETACHED = [("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y")]  # of nouns
_DETACHED += [("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")]  # of verbs
_DETACHED += [("er", ""), ("est", ""), ("er", "e"), ("est", "e")]  # of adjectives


def _undotted(word: str, after: str) -> _Phrase:
    if len(word) < 2 or not word.endswith(".") or word.strip(".") == "":
        return (word,)
    if "." in word[:-1] and re.search(r"[^\W\d_]", word):
        return (word.replace(".", ""),)
    return (word,) if after[:1].islower() else (word[:-1], ".")


def _pairs_of_lines(path: str | PathLike[str]) -> Iterable[tuple[str, str]]:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return zip(lines[::2], lines[1::2], strict=True)
