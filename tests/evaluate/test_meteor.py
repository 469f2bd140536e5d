"""Laws of METEOR: stems, alignments against all possible ones, scores counted by hand, tables that are read."""

import gzip
from itertools import permutations, product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.evaluate.alignment import Match, align, count_runs
from foveal.evaluate.meteor import (
    FUNCTION_WORDS,
    MeteorParameters,
    MeteorWords,
    frequent_words,
    meteor,
    meteor_tokens,
    read_bases,
    read_function_words,
    read_paraphrases,
    read_synonyms,
)
from foveal.evaluate.stems import english_stem

SENTENCES = st.lists(st.sampled_from("abc"), max_size=5)


@pytest.mark.parametrize(
    ("stem", "words"),
    [
        ("consign", "consign consigned consigning consignment"),
        ("consist", "consist consisted consistency consistent consistently consisting consists"),
        ("knot", "knot knots knotted"),
        ("knit", "knit knits knitting"),
        ("tie", "ties tied tie tying"),
        ("cri", "cries cried cry"),
        ("gas", "gas"),
        ("gap", "gaps gap"),
        ("kiwi", "kiwis kiwi"),
        ("hope", "hoping hoped hopes"),
        ("hop", "hopped hopping hop"),
        ("nation", "national nationally nations"),
        ("relat", "relational relate related"),
        ("generous", "generous generously"),
        ("communiti", "communities community"),
        ("ran", "ran"),
        ("proceed", "proceed proceeds proceeding"),
        ("inning", "inning innings"),
        ("feed", "feed feeds feeding"),
        ("agre", "agree agreed agreeing"),
        ("say", "say says saying"),
        ("by", "by"),
        ("geolog", "geology geologi"),
        ("activ", "active actively activate activity"),
        ("adjust", "adjustment adjustable adjusts"),
        ("roll", "rolls rolling roll"),
        ("control", "controll controlled"),
        ("youth", "youth youths youth's"),
    ],
)
def test_forms_of_a_word_have_one_stem(stem: str, words: str) -> None:
    assert {english_stem(word) for word in words.split()} == {stem}


@given(SENTENCES, SENTENCES)
def test_an_alignment_matches_most_words_in_the_fewest_runs(said: list[str], true: list[str]) -> None:
    options = [[Match(0, start, 1, place, 1) for place, other in enumerate(said) if other == word] for start, word in enumerate(true)]
    chosen = align(options, len(said), beam=10_000)
    assert all(said[match.place] == true[match.start] for match in chosen)
    assert len({match.place for match in chosen}) == len({match.start for match in chosen}) == len(chosen)
    assert (-len(chosen), count_runs(chosen)) == min(_all_alignments(said, true))


@given(SENTENCES, SENTENCES)
def test_a_narrow_beam_still_gives_an_alignment(said: list[str], true: list[str]) -> None:
    options = [[Match(0, start, 1, place, 1) for place, other in enumerate(said) if other == word] for start, word in enumerate(true)]
    chosen = align(options, len(said), beam=1)
    assert len({match.place for match in chosen}) == len(chosen) <= min(len(said), len(true))


def test_a_score_is_what_one_counts_by_hand() -> None:
    # matched: a, man, rides (stem), a, horse; two runs; function words weigh a quarter, words of content three
    precision, recall = (0.25 + 0.75 + 0.6 * 0.75 + 0.25 + 0.75) / 2.75, (0.25 + 0.75 + 0.6 * 0.75 + 0.25 + 0.75) / 3
    expected = 1 / (0.15 / precision + 0.85 / recall) * (1 - 0.6 * (2 / 5) ** 0.2)
    score = meteor(["a man rides a horse"], [["a man is riding a horse"]])
    assert score.value == pytest.approx(expected) and score.each == pytest.approx([expected])


def test_the_same_words_are_worth_one_other_words_nothing_and_silence_nothing() -> None:
    assert meteor(["the red cat", "a dog", "", "a"], [["the red cat"], ["two cups"], ["a dog"], [""]]).each == pytest.approx([1, 0, 0, 0])
    assert meteor([], []).value == 0


def test_the_best_reference_counts_and_a_set_is_scored_by_its_summed_counts() -> None:
    said, sets = ["a red cat", "two dogs run on the sand"], [["a cup", "a red cat"], ["two dogs run", "some dogs ran along a beach"]]
    score = meteor(said, sets)
    single = [max(meteor([one], [[other]]).value for other in several) for one, several in zip(said, sets, strict=True)]
    assert score.each == pytest.approx(single)
    assert min(single) < score.value < max(single) and score.value != pytest.approx(sum(single) / 2)


def test_the_more_runs_the_lower_the_score() -> None:
    scores = meteor(["red cats like small dogs", "small dogs like red cats", "dogs small cats like red"], [["red cats like small dogs"]] * 3).each
    assert scores.tolist() == sorted(scores, reverse=True) and len(set(scores.tolist())) == 3


def test_words_of_content_count_more() -> None:
    assert meteor(["a cup"], [["the cup"]]).value > meteor(["the dog"], [["the cup"]]).value
    assert "the" in FUNCTION_WORDS and "dog" not in FUNCTION_WORDS
    even = MeteorParameters(delta=0.5)
    assert meteor(["a cup"], [["the cup"]], parameters=even).value == pytest.approx(meteor(["the dog"], [["the cup"]], parameters=even).value)


def test_synonyms_match_by_their_base_forms_too() -> None:
    known = MeteorWords(synonyms={"sofa": ["1"], "couch": ["1", "2"], "child": ["3"], "kid": ["3"]}, bases={"children": ["child"]})
    said, sets = ["two sofas", "two children", "two lamps"], [["two couches"], ["two kids"], ["two tables"]]
    plain, better = meteor(said, sets).each, meteor(said, sets, words=known).each
    assert (better > plain).tolist() == [True, True, False]
    assert better[0] == pytest.approx(1 / (0.15 / 0.9 + 0.85 / 0.9)), "0.75 + 0.8 * 0.75 of 1.5, one run, all matched"


def test_paraphrases_match_phrases_of_any_length_in_both_directions() -> None:
    known = MeteorWords(paraphrases={("a", "lot", "of"): [("many",)]})
    for said, true in (("a lot of dogs", "many dogs"), ("many dogs", "a lot of dogs")):
        assert meteor([said], [[true]]).value < meteor([said], [[true]], words=known).value < 1


def test_meteor_parts_words_further() -> None:
    assert meteor_tokens("A man's jack-o-lantern, 10-year-old") == ("a", "man", "'", "s", "jack", "o-lantern", "10", "year", "old")
    assert " ".join(meteor_tokens("Mr. Fox and/or the U.S. at 3,000 ft. sat.")) == "mr. fox and / or the us at 3,000 ft. sat"
    assert meteor_tokens("") == ()


def test_tables_are_read_as_meteor_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "function.words").write_text("the\nof\n")
    (tmp_path / "synsets").write_text("sofa\n0001 0002\ncouch\n0001\n")
    (tmp_path / "exceptions").write_text("man\nmen\nabet\nabetted abetting\n")
    with gzip.open(tmp_path / "paraphrase.gz", "wt") as file:
        file.write("0.1\na lot of\nmany\n0.2\nmany\nnumerous\n")
    assert read_function_words(tmp_path / "function.words") == {"the", "of"}
    assert read_synonyms(tmp_path / "synsets") == {"sofa": {"0001", "0002"}, "couch": {"0001"}}
    assert read_bases(tmp_path / "exceptions") == {"men": ["man"], "abetted": ["abet"], "abetting": ["abet"]}
    assert read_paraphrases(tmp_path / "paraphrase.gz", ["a lot of dogs", "many dogs"]) == {("a", "lot", "of"): [("many",)]}


def test_words_that_are_frequent_in_much_text_are_function_words() -> None:
    assert frequent_words(["the dog and the cat", "the end of the dog"], share=0.19) == {"the", "dog"}


def _all_alignments(said: list[str], true: list[str]) -> list[tuple[int, int]]:
    """Minus the matches, and the runs, of every alignment there is."""
    found = []
    for kept in product([False, True], repeat=len(true)):
        starts = [start for start, keep in enumerate(kept) if keep]
        for places in permutations(range(len(said)), len(starts)):
            if all(said[place] == true[start] for place, start in zip(places, starts, strict=True)):
                pairs = [Match(0, start, 1, place, 1) for start, place in zip(starts, places, strict=True)]
                found.append((-len(pairs), count_runs(pairs)))
    return found
