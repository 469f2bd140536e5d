"""Laws of what the verbs say to a family of models."""

import pytest

from foveal.geometry import Box
from foveal.grounding.wordings import VERBS


@pytest.mark.parametrize("family", sorted(VERBS))
def test_every_family_names_a_region_and_captions(family: str) -> None:
    box = Box(0.1, 0.2, 0.3, 0.4)
    assert VERBS[family].name(box).regions == (box,)
    assert VERBS[family].captioned().text.strip()


def test_what_a_family_was_not_trained_on_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="Monkey was not trained to be asked for location; it can be asked for name, caption, detailed caption"):
        VERBS["monkey"].of("location", "the cup")
    with pytest.raises(ValueError, match="Ferret was not trained to be asked for detailed caption"):
        VERBS["ferret"].captioned(detailed=True)
    with pytest.raises(ValueError, match="both detailed and grounded"):
        VERBS["ferret"].captioned(detailed=True, grounded=True)


def test_monkey_is_asked_in_the_words_it_was_trained_on() -> None:
    assert VERBS["monkey"].captioned(detailed=True).text == "Generate the detailed caption in English:"
