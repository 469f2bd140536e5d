"""Inside a bracket: whatever the rules let through can be read as a place, and what can be read is let through."""

from hypothesis import given
from hypothesis import strategies as st

from foveal.geometry import Frame
from foveal.grounding.formats import BracketFormat
from foveal.session.grammar import PlaceGrammar, is_circling, may_become_place

LETTERS = "0123456789, []a."
FRAME = Frame.stretch((640, 480))
TOKENS = ["", "[", "]", " [", "],", "[1", "12", "123", ", ", ",", " ", "7", "0", "999", "].", "cat", "][", "[]", " a [x", "][5, ", "1]"]


@given(st.text(alphabet="0123456789, ", max_size=18))
def test_what_reads_as_a_place_is_allowed_at_every_step(inner: str) -> None:
    place = BracketFormat().decode(f"a cup [{inner}]", FRAME)
    ordinary = inner == ", ".join(part.strip() for part in inner.split(",")) and all(len(part) < 4 for part in inner.split(", "))
    if place.regions and ordinary:
        assert all(may_become_place(f"{inner}]"[:end]) for end in range(len(inner) + 2))


@given(st.text(alphabet=LETTERS, max_size=24))
def test_a_closed_bracket_that_is_allowed_reads_as_a_place(text: str) -> None:
    inner, close, _ = text.partition("]")
    if close and may_become_place(inner + close):
        assert len(BracketFormat().decode(f"[{inner}]", FRAME).regions) == 1


@given(st.lists(st.integers(0, 10**6), max_size=60))
def test_any_walk_along_the_rules_leaves_only_places_in_brackets(choices: list[int]) -> None:
    grammar, text, before = PlaceGrammar(TOKENS), "", None
    for choice in choices:
        allowed = grammar.allowed(before).nonzero()[:, 0].tolist()
        token = allowed[choice % len(allowed)]
        before = grammar.open_bracket(before, token)
        text += TOKENS[token]
    closed = text[: text.rfind("[")] if before is not None else text
    assert len(BracketFormat().decode(closed, FRAME).regions) == closed.count("[")


def test_special_tokens_are_not_said_inside_a_bracket() -> None:
    grammar = PlaceGrammar(TOKENS)
    assert bool(grammar.allowed(None)[0]) and not bool(grammar.allowed("12")[0])


def test_a_token_of_a_padded_vocabulary_says_nothing() -> None:
    grammar = PlaceGrammar(TOKENS)
    assert grammar.open_bracket(None, len(TOKENS) + 7) is None and grammar.open_bracket("12", len(TOKENS) + 7) == "12"


def test_a_vocabulary_that_cannot_go_on_is_not_bound() -> None:
    assert bool(PlaceGrammar(["cat", "["]).allowed("").all())


def test_bins_set_how_long_a_number_may_be() -> None:
    assert may_become_place("1234, 5]", digits=4) and not may_become_place("1234", digits=3)


def test_lists_of_different_things_do_not_go_in_circles() -> None:
    assert not is_circling("1: cat [1, 2, 3, 4], 2: dog [1, 2, 3, 4], 3: cat [5, 6, 7, 8], 4: dog [5, 6, 7, 8]")
    assert not is_circling("a man [1, 2, 3, 4] and his hat [1, 2, 3, 4] and his coat [1, 2, 3, 4]")


def test_circles_are_seen_whatever_their_length() -> None:
    assert is_circling("[1, 2, 3, 4] [1, 2, 3, 4] [1, 2, 3, 4]")
    assert is_circling("The objects are: 1: cat [1, 2, 3, 4], 2: cat [1, 2, 3, 4], 3: cat [1, 2, 3, 4]")
    assert is_circling(", ".join(["a cat [1, 2, 3, 4], a dog [5, 6, 7, 8]"] * 3))
    assert is_circling("a [1, 2, 3, 4], b [1, 2, 3, 4], c [1, 2, 3, 4], d [1, 2, 3, 4]")
