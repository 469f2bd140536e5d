"""Laws of what a language model writes: any reply is read, phrases have their notes' places, one fault hinders no other, a spent budget ends well."""

import json
import pickle
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foveal.cli.sources import from_file
from foveal.endpoint import Prices
from foveal.geometry import Box
from foveal.grounding import Example, GroundedText, Note, Picture, tied
from foveal.synth import Step, run_pipeline
from foveal.synth.marks import fault_of, listed_notes, numbered, read_marks
from foveal.synth.negatives import absent, confused, denied, misplaced, read_negatives
from foveal.synth.notes import REFUSED
from foveal.synth.running import folders_of
from foveal.synth.shards import read_shard
from foveal.synth.stage import Stopped, pipeline_of, settings_of
from foveal.synth.writers import Writer
from foveal.synth.written import denied_by, described_by, discussed_by, read_rounds

GOOD = "A kitchen with [two cups](3, 4) beside [a kettle](5). [The kettle](5) says [TEA](6). It smells of mint."


def writer(server: Any, **changes: Any) -> Writer:
    return Writer(server.url, "scribe", **({"timeout_s": 5.0, "retries": 0} | changes))


def asked_of(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def several(kitchen: Example, *names: str) -> list[Example]:
    """The same notes under other names, the first with a note that holds the name, so that no two questions are one."""
    return [Example(name, kitchen.images, notes=(*kitchen.notes, Note(GroundedText(f"number {name}"), "caption"))) for name in names]


def test_a_description_has_the_places_of_the_notes_it_names(serve: Callable[..., Any], kitchen: Example) -> None:
    server = serve(lambda body: GOOD)
    (found,) = described_by(writer(server))(iter([kitchen]))
    note, said = found.notes[-1], found.turns[-1].said
    assert found.notes[: len(kitchen.notes)] == kitchen.notes and note.said == said and note.source == "description"
    assert said.text == "A kitchen with two cups beside a kettle. The kettle says TEA. It smells of mint."
    regions = {number: kitchen.notes[number - 1].said.regions for number in (3, 4, 5, 6)}
    assert [(said.text[span.start : span.end], span.regions) for span in said.spans] == [
        ("two cups", regions[3] + regions[4]),
        ("a kettle", regions[5]),
        ("The kettle", regions[5]),
        ("TEA", regions[6]),
    ]
    assert (note.made_by["model"], note.made_by["composer"], note.made_by["claims"], note.made_by["ungrounded"]) == (
        "scribe-0314",
        "endpoint",
        "3",
        "1",
    )
    assert [turn.role for turn in found.turns] == ["user", "assistant"]
    told = asked_of(server.requests[0][2])
    assert '2. caption that came with the picture "two cups and a kettle"' in told and '1. caption "a wrong caption"' in told
    assert '5. region "kettle" at [0.50, 0.50, 0.95, 0.95]' in told and "ghost" not in told and "90 % sure" in told


def test_what_is_told_is_bounded_and_can_be_no_other_line() -> None:
    notes = [Note(tied(f"thing {place}", Box(0, 0, place / 100, 0.5)), "object") for place in range(100)]
    sly = Note(tied('EXIT"\n9. object "a lie', Box(0, 0, 1, 1)), "text")
    chosen = numbered(Example("x", notes=(*notes, sly, Note(GroundedText("a shop"), "caption"))), most=10)
    assert list(chosen) == [93, 94, 95, 96, 97, 98, 99, 100, 101, 102]
    assert len(listed_notes(chosen).split("\n")) == 10
    composed = Note(GroundedText("a shop with things"), "description", made_by={"composer": "template"})
    assert numbered(Example("x", notes=(composed, Note(tied("", Box(0, 0, 1, 1)), "mask"), Note(GroundedText("gone"), "dropped caption")))) == {}


def test_marks_of_any_text_are_read(kitchen: Example) -> None:
    notes = numbered(kitchen)
    chance = random.Random(0)
    pieces = ["[", "]", "(", ")", "](", "[a cup](3)", "[x](99)", "[ ](3)", "(3)", "\n", ". ", "é", "word ", "[a [b](3)](4)", "[one](2)", "[c](3,, 4)"]
    for _ in range(300):
        text = "".join(chance.choices(pieces, k=chance.randrange(12)))
        read = read_marks(text, notes)
        assert read.said.text == read.said.text.strip() and 0 <= read.ungrounded <= read.claims
        for span in read.said.spans:
            assert span.regions and read.said.text[span.start : span.end] in ("a cup", "b", "c")
    read = read_marks("[A cup](3, 99) and [a dog](no) and [tea](2).", notes)
    assert (read.unknown, read.claims, read.ungrounded, len(read.said.spans)) == (1, 1, 0, 1)


@pytest.mark.parametrize(
    ("text", "finish", "why"),
    [
        ("", "stop", "it is empty"),
        ("A cup on a", "length", "it was cut off"),
        ("I'm sorry, but I can't help with that.", "stop", "it refuses"),
        ("As an AI, I do not see.", "stop", "it refuses"),
        ("A cup at (0.12, 0.30) stands there.", "stop", "it spells coordinates"),
        ("\ufffd\ufffd \x00 12", "stop", "it holds no sentence"),
        ("A cup is here.", "content_filter", "filter stopped it"),
    ],
)
def test_a_reply_that_cannot_be_used_refuses_its_example_alone(serve: Callable[..., Any], kitchen: Example, text: str, finish: str, why: str) -> None:
    def respond(body: dict[str, Any]) -> Any:
        if "number odd" not in asked_of(body):
            return GOOD
        choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}
        return 200, {}, json.dumps({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}).encode()

    server = serve(respond)
    found = list(described_by(writer(server))(iter(several(kitchen, "a", "odd", "b"))))
    assert why in str(found[1].facts[REFUSED]) and why in str(fault_of(text, finish))
    assert all(REFUSED not in one.facts and one.turns for one in (found[0], found[2]))


def test_an_endpoint_that_errs_stalls_or_babbles_hinders_no_other_example(serve: Callable[..., Any], kitchen: Example) -> None:
    def respond(body: dict[str, Any]) -> Any:
        asked = asked_of(body)
        if "number slow" in asked:
            time.sleep(1.2)
        if "number down" in asked:
            return 503, {}, b"{}"
        if "number babble" in asked:
            return 200, {}, b"\x00\xffdata: {[}"
        return (400, {}, json.dumps({"error": {"message": "too long"}}).encode()) if "number long" in asked else GOOD

    server = serve(respond)
    names = ("fine 1", "slow", "down", "babble", "long", "fine 2")
    empty = Example("nothing known", (Picture(4, 4, path="x.png"),))
    found = list(described_by(writer(server, timeout_s=0.6))(iter([empty, *several(kitchen, *names), empty])))
    assert [one.id for one in found] == ["nothing known", *names, "nothing known"]
    assert [REFUSED in one.facts for one in found] == [False, False, True, True, True, True, False, False]
    assert "timed out" in str(found[2].facts[REFUSED]).lower() and found[0] == empty and not found[-1].turns


def test_a_spent_budget_ends_the_run_and_keeps_what_is_there(serve: Callable[..., Any], kitchen: Example, tmp_path: Path) -> None:
    server = serve(lambda body: GOOD)
    entries = several(kitchen, *(f"{number}" for number in range(8)))
    costs = {"prices": Prices(1.0, 1.0), "cache": tmp_path / "replies.jsonl", "at_once": 1}

    def steps(budget: float) -> list[Step]:
        return [Step("described", described_by(writer(server, budget=budget, **costs)))]

    price = 1e-6
    with pytest.raises(Stopped, match=r"the budget of .* is spent"):
        run_pipeline(steps(11_500 * price), entries, tmp_path / "out", shard=2)
    done = folders_of(tmp_path / "out")["described"].records
    asked = len(server.requests)
    assert 0 < len(done) < 4 and 2 * len(done) <= asked < 8
    assert not any(record.refused for record in done.values())
    run_pipeline(steps(10.0), entries, tmp_path / "out", shard=2)
    folder = folders_of(tmp_path / "out")["described"]
    assert len(server.requests) == 8, "nothing is asked twice"
    assert [one.id for number in range(4) for one in read_shard(folder.shard(number))[0]] == [str(number) for number in range(8)]


def test_a_key_or_a_model_that_is_refused_ends_the_run(serve: Callable[..., Any], kitchen: Example, tmp_path: Path) -> None:
    server = serve(lambda body: (404, {}, json.dumps({"error": {"message": "no such model"}}).encode()))
    with pytest.raises(Stopped, match="cannot be asked"):
        run_pipeline([Step("described", described_by(writer(server)))], several(kitchen, "a", "b"), tmp_path / "out")


def test_settings_tell_what_is_written_and_not_where_or_for_how_much() -> None:
    one, other = Writer("http://localhost:1/v1", "m", budget=1.0, prices=Prices(1, 1)), Writer("http://localhost:2/v1", "m")
    assert settings_of(described_by(one)) == settings_of(described_by(other)) != settings_of(described_by(Writer("http://localhost:1/v1", "n")))
    assert settings_of(described_by(one)) != settings_of(described_by(one, sentences=3)) != settings_of(discussed_by(one))
    assert settings_of(described_by(one)) != settings_of(described_by(one, GroundedText("What is it?")))
    assert settings_of(described_by(one)) == settings_of(pickle.loads(pickle.dumps(described_by(one))))


ROUNDS = """Here it is:
Q: What is [this](5) used for?
A: [The kettle](5) boils water
for tea.
Q: What is this?
A: It points nowhere.
Q: Is [the first cup](3) left of [the second](4)?
A: Yes, [the cup](3) is left of [the other cup](4).
Q: Where is [the moon](77)?
A: Nowhere.
Q: And?
"""


def test_a_conversation_points_in_questions_and_grounds_its_answers(serve: Callable[..., Any], kitchen: Example) -> None:
    (found,) = discussed_by(writer(serve(lambda body: ROUNDS)))(iter([kitchen]))
    assert [turn.role for turn in found.turns] == ["user", "assistant"] * 2
    assert found.turns[0].said.text == "What is this used for?" and found.turns[0].said.regions == kitchen.notes[4].said.regions
    assert found.turns[1].said.text == "The kettle boils water for tea." and len(found.turns[3].said.regions) == 2
    note = found.notes[-1]
    assert (note.source, note.made_by["left_out"], note.made_by["claims"], note.made_by["ungrounded"]) == ("conversation", "2", "2", "0")
    (none,) = discussed_by(writer(serve(lambda body: "What a lovely picture it is.")))(iter([kitchen]))
    assert "holds no question with an answer" in str(none.facts[REFUSED])


def test_rounds_of_any_text_are_read() -> None:
    chance = random.Random(1)
    for _ in range(200):
        text = "".join(chance.choices(["Q: ", "A: ", "\n", "**Question 2:** ", "User:", "what", " ", "Answer:", "1. "], k=chance.randrange(14)))
        assert all(asked and answered for asked, answered in read_rounds(text))
    assert read_rounds("1. Q: Who?\n- A: Me.\nUser: Why?\nAssistant: So.") == [("Who?", "Me."), ("Why?", "So.")]


PROPOSED = """absent | fork
absent | a cup
absent | 5
- confusable | a blue kettle | 5
confusable | kettle | 5
confusable | a zebra | 5
misplaced | 3 | 5
misplaced | 3 | 4
misplaced | 3
Hope that helps!"""


def test_negatives_that_a_note_belies_are_left_out(serve: Callable[..., Any], kitchen: Example) -> None:
    (found,) = denied_by(writer(serve(lambda body: PROPOSED)))(iter([kitchen]))
    said = [turn.said for turn in found.turns]
    assert [one.text for one in said] == [
        "Where is the fork?",
        "There is no fork in the picture.",
        "Is there a blue kettle in the picture?",
        "No, there is no blue kettle; there is a kettle.",
        "Is this a cup?",
        "No, it is a kettle; the cup is elsewhere.",
    ]
    cup, kettle = (kitchen.notes[place].said.regions for place in (2, 4))
    assert [one.regions for one in said] == [(), (), (), kettle, kettle, kettle + cup]
    assert [span.regions for span in said[1].spans] == [()] and said[1].text[said[1].spans[0].start : said[1].spans[0].end] == "fork"
    assert found.notes[-1].source == "negatives" and found.notes[-1].made_by["left_out"] == "7"


def test_negatives_by_rule_hold_and_are_the_same_again(kitchen: Example) -> None:
    stage = denied(("cup", "fork", "kettles", "zebra", "tea"), count=2)
    (one,), (again,) = (list(stage(iter([kitchen]))) for _ in range(2))
    assert one == again and {one.turns[0].said.text, one.turns[2].said.text} == {"Where is the fork?", "Where is the zebra?"}
    assert len(one.turns) == 6 and one.turns[5].said.text.endswith("is elsewhere.") and one.notes == kitchen.notes
    bare = Example("bare")
    assert list(stage(iter([bare]))) == [bare]


def test_no_negative_is_true() -> None:
    cup, hat = Note(tied("a red cup", Box(0, 0, 0.3, 0.3)), "region"), Note(tied("hat", Box(0.05, 0, 0.3, 0.3)), "region")
    assert absent("cups", [cup]) is None and absent("", [cup]) is None and absent("spoon", [cup]) is not None
    assert confused("the red cup", cup, [cup, hat]) is None and confused("red", cup, [cup]) is None and confused("hat", cup, [cup, hat]) is None
    assert misplaced(cup, hat) is None and misplaced(cup, cup) is None, "they lie at one place"
    assert read_negatives("misplaced | 1 | 2\nconfusable | x", {1: cup, 2: hat}) == ([], 2)


def test_the_recipe_of_conversations_takes_a_writer_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "grit.py"
    monkeypatch.delenv("FOVEAL_WRITER", raising=False)
    sys.modules.pop("grit", None)
    plain = from_file(recipe)
    assert {"dialogues", "hard-negatives"}.isdisjoint(step.name for step in pipeline_of(plain.PIPELINE))
    for name, value in {"": "scribe", "_URL": "http://localhost:1/v1", "_PRICES": "0.4,1.6", "_BUDGET": "2"}.items():
        monkeypatch.setenv(f"FOVEAL_WRITER{name}", value)
    monkeypatch.delitem(sys.modules, "grit")
    found = from_file(recipe)
    for steps in (pipeline_of(found.PIPELINE), pipeline_of(found.CLUSTER)):
        assert [step.name for step in steps[-2:]] == ["dialogues", "hard-negatives"]
        assert settings_of(steps[-2].stage)["writer"] == "scribe {}"
