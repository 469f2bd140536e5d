"""Ferret's words: its conversation templates, and the questions its training and evaluation ask."""

from collections.abc import Sequence

from foveal.geometry import Box, Region
from foveal.grounding.text import GroundedText, tied
from foveal.grounding.wordings.templates import Template, header_template, plain_template, two_separator_template
from foveal.grounding.wordings.verbs import Verbs

__all__ = [
    "BOXES_REQUEST",
    "COORDINATES_REQUEST",
    "FERRET_CHATML",
    "FERRET_GEMMA",
    "FERRET_GEMMA_PLAIN",
    "FERRET_LLAMA_3",
    "FERRET_LONG",
    "FERRET_PHI_3",
    "FERRET_V1",
    "FERRET_VICUNA_V1",
    "LLAVA_LLAMA_3",
    "LLAVA_V1",
    "MISTRAL_INSTRUCT",
    "PLAIN",
    "PLAIN_CAPTION",
    "PLAIN_CHAT",
    "TEMPLATES",
    "VERBS",
    "VICUNA_V1",
    "ask_caption",
    "ask_choice",
    "ask_count",
    "ask_detection",
    "ask_location",
    "ask_locations",
    "ask_name",
    "ask_names",
    "ask_presence",
    "ask_text",
    "chat_template",
    "gemma_template",
    "instruct_template",
    "reading_order",
    "say_absent",
    "say_detection",
    "say_locations",
    "say_names",
    "with_coordinates",
]

COORDINATES_REQUEST = " Include the coordinates for each mentioned object."
"""What Ferret-v2 adds to a question that wants boxes in its answer (arXiv 2404.07973, 3.4)."""
_BINS = 1000
"""In which Ferret writes places."""
BOXES_REQUEST = "\nProvide the bounding boxes of the mentioned objects."
"""What the any-resolution training code adds to the first question of its grounding data."""

_SYSTEM = (
    "A chat between a human and an AI that understands visuals. In images, [x, y] denotes points: top-left [0, 0], bottom-right "
    "[width-1, height-1]. Increasing x moves right; y moves down. Bounding box: [x1, y1, x2, y2]. Image size: 1000x1000. Follow instructions."
)
_LONG_SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. Assistant is able to understand the visual content that the "
    "user provides, and assist the user with a variety of tasks using natural language. In images, points are represented by coordinates "
    "[x, y]. The top-left corner is [0, 0]. The bottom-right corner is [width-1, height-1]. Increasing x moves right across the image while "
    "increasing y moves down. A bounding box is marked by [x1, y1, x2, y2] with the top-left and bottom-right points being [x1, y1] and "
    "[x2, y2] respectively. The image size is assumed to be (1000, 1000), i.e., width=1000, height=1000. Follow the instructions carefully. "
)
_CURIOUS = (
    "A chat between a curious {0} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {0}'s questions."
)
_LLAMA_USER, _LLAMA_ASSISTANT = (f"<|start_header_id|>{role}<|end_header_id|>\n\n" for role in ("user", "assistant"))
_LLAMA_SYSTEM = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"


def gemma_template(name: str, system: str, user: str = "user", model: str = "model", end: str = "<eos>") -> Template:
    """Gemma's conversation: turns between `<start_of_turn>` and `<end_of_turn>`, the model's closed by `end` as well."""
    closing = "<end_of_turn>\n"
    return Template(name, system, f"<start_of_turn>{user}\n", closing, f"<start_of_turn>{model}\n", closing + end, "<end_of_turn>")


def chat_template(name: str, system: str) -> Template:
    """ChatML, the conversation of Qwen and others: every message between `<|im_start|>` with its role and `<|im_end|>`."""
    end = "<|im_end|>"
    return Template(name, f"<|im_start|>system\n{system}{end}\n", "<|im_start|>user\n", f"{end}\n", "<|im_start|>assistant\n", f"{end}\n", end)


def instruct_template(name: str, end: str = "</s>") -> Template:
    """Mistral's conversation: questions between `[INST]` and `[/INST]`, without a system's words."""
    return Template(name, "", "[INST] ", " [/INST]", " ", f" {end}", end)


FERRET_V1 = two_separator_template("ferret_v1", _SYSTEM + " ")
FERRET_LONG = two_separator_template("original_system", _LONG_SYSTEM)
FERRET_VICUNA_V1 = two_separator_template("ferret_vicuna_v1", _SYSTEM)
FERRET_LLAMA_3 = header_template("ferret_llama_3", _LLAMA_SYSTEM + _SYSTEM, _LLAMA_USER, _LLAMA_ASSISTANT, "<|eot_id|>")
FERRET_GEMMA = gemma_template("ferret_gemma_instruct", _SYSTEM)
FERRET_GEMMA_PLAIN = gemma_template("ferret_gemma_plain", "")
FERRET_PHI_3 = header_template("ferret_phi3_instruct", "<|system|>\nYou are a helpful AI assistant.", "\n<|user|>\n", "\n<|assistant|>\n", "<|end|>")
FERRET_CHATML = chat_template("ferret_chatml", _SYSTEM)
"""No published Ferret speaks so; language models of today do."""
PLAIN = plain_template("plain")
PLAIN_CAPTION = Template("plain_caption", "", "", "", "", "\n", "\n")
"""An image's caption straight after the image, as the first stage aligns the projector with (arXiv 2404.07973, 3.3)."""
VICUNA_V1 = two_separator_template("vicuna_v1", _CURIOUS.format("user"))
LLAVA_V1 = two_separator_template("llava_v1", _CURIOUS.format("human"))
LLAVA_LLAMA_3 = header_template(
    "llava_llama_3",
    _LLAMA_SYSTEM + "You are a helpful language and vision assistant. You are able to understand the visual content that the user provides, "
    "and assist the user with a variety of tasks using natural language.",
    _LLAMA_USER,
    _LLAMA_ASSISTANT,
    "<|eot_id|>",
)
MISTRAL_INSTRUCT = instruct_template("mistral_instruct")
PLAIN_CHAT = Template("plain_chat", "", "USER: ", " ", "ASSISTANT: ", "</s>", "</s>")
"""Roles and nothing else, for small models whose every token counts."""

TEMPLATES = {
    template.name: template
    for template in (
        FERRET_V1,
        FERRET_LONG,
        FERRET_VICUNA_V1,
        FERRET_LLAMA_3,
        FERRET_GEMMA,
        FERRET_GEMMA_PLAIN,
        FERRET_PHI_3,
        FERRET_CHATML,
        PLAIN,
        PLAIN_CAPTION,
        VICUNA_V1,
        LLAVA_V1,
        LLAVA_LLAMA_3,
        MISTRAL_INSTRUCT,
        PLAIN_CHAT,
    )
}
"""All templates by name, so that a checkpoint's settings can say which is its own."""


def ask_location(phrase: str) -> GroundedText:
    """Where one thing is: the question of the RefCOCO evaluations.

    >>> ask_location("the cup, on the left").text
    'What is the location of the cup on the left in the image?'
    """
    return GroundedText(f"What is the location of {phrase.replace(',', '')} in the image?")


def ask_locations(phrases: Sequence[str]) -> GroundedText:
    """Where several phrases are: the question of the Flickr30k Entities evaluation.

    >>> ask_locations(["A man", "a dog"]).text
    'What are the locations of a man, a dog?'
    """
    return GroundedText(f"What are the locations of {', '.join(phrase.lower().replace(',', '') for phrase in phrases)}?")


def say_locations(things: Sequence[tuple[str, Sequence[Box]]]) -> GroundedText:
    """The answer to a question for locations: each phrase with its boxes.

    >>> say_locations([("a man", [Box(0.0, 0.0, 0.5, 1.0)]), ("a dog", [])]).text
    'a man, a dog.'
    """
    return GroundedText.join(_listed([tied(phrase, *boxes) for phrase, boxes in things]), ".")


def ask_choice(region: Region, first: str, second: str) -> GroundedText:
    """Which of two classes a region is: the question of the LVIS referring evaluation."""
    return GroundedText.join("Is the object ", region, f" of the image a {first} or a {second}?")


def ask_name(region: Region) -> GroundedText:
    """What a region shows."""
    return GroundedText.join("What is ", region, "?")


def ask_text(region: Region) -> GroundedText:
    """What is written in a region."""
    return GroundedText.join("What does the text ", region, " say?")


def ask_names(regions: Sequence[Region]) -> GroundedText:
    """Dense referring (arXiv 2404.07973, 3.3): the classes of all regions at once.

    >>> ask_names([Box(0.0, 0.0, 0.5, 0.5), Box(0.5, 0.5, 1.0, 1.0)]).text
    'Please classify the objects in the following locations. 1: , 2: .'
    """
    places = [GroundedText.join(f"{number}: ", region) for number, region in enumerate(regions, start=1)]
    return GroundedText.join("Please classify the objects in the following locations. ", _listed(places), ".")


def say_names(names: Sequence[str]) -> GroundedText:
    """The answer to dense referring.

    >>> say_names(["cat", "dog"]).text
    'Here are the categories: 1: cat, 2: dog.'
    """
    return GroundedText(f"Here are the categories: {', '.join(f'{number}: {name}' for number, name in enumerate(names, start=1))}.")


def ask_detection() -> GroundedText:
    """Dense detection (arXiv 2404.07973, 3.3): all objects, in reading order."""
    return GroundedText("Please localize visible objects in the image in a raster scan order.")


def say_detection(things: Sequence[tuple[str, Box]]) -> GroundedText:
    """The answer to dense detection: things in `reading_order`.

    >>> say_detection([("dog", Box(0.5, 0.5, 1.0, 1.0)), ("cat", Box(0.0, 0.0, 0.5, 0.5))]).text
    'The objects are: 1: cat, 2: dog.'
    """
    ordered = sorted(things, key=lambda thing: reading_order(thing[1]))
    said = [GroundedText.join(f"{number}: ", tied(name, box)) for number, (name, box) in enumerate(ordered, start=1)]
    return GroundedText.join("The objects are: ", _listed(said), ".")


def reading_order(box: Box) -> tuple[int, int]:
    """What boxes are sorted by to be listed: their top edge, then their left, in the bins in which both are written, so that the order can be read.

    >>> reading_order(Box(0.5, 0.1001, 0.6, 0.2)) > reading_order(Box(0.2, 0.1009, 0.3, 0.2))
    True
    """
    return int(box.y0 * _BINS), int(box.x0 * _BINS)


def say_absent(name: str) -> GroundedText:
    """The answer to where something is that is not there; an article before it falls away.

    >>> say_absent("the red cup").text
    'There is no red cup in the image.'
    """
    return GroundedText(f"There is no {name.removeprefix('the ').removeprefix('an ').removeprefix('a ')} in the image.")


def ask_presence(name: str) -> GroundedText:
    """Whether something is there: the question of the POPE evaluation.

    >>> ask_presence("orange").text
    'Is there an orange in the image?'
    """
    return GroundedText(f"Is there {'an' if name.lower().startswith(('a', 'e', 'i', 'o', 'u')) else 'a'} {name} in the image?")


def ask_count(names: str) -> GroundedText:
    """How many there are of what `names`, a plural, says."""
    return GroundedText(f"How many {names} are there in the image?")


def ask_caption() -> GroundedText:
    """What the image shows."""
    return GroundedText("Describe the image.")


def with_coordinates(question: GroundedText) -> GroundedText:
    """The question with Ferret-v2's request for coordinates (arXiv 2404.07973, 3.4)."""
    return GroundedText.join(question, COORDINATES_REQUEST)


def _listed(parts: Sequence[GroundedText]) -> GroundedText:
    return GroundedText.join(*(piece for place, part in enumerate(parts) for piece in ((", ", part) if place else (part,))))


VERBS = Verbs(
    family="Ferret",
    name=ask_name,
    caption=ask_caption(),
    grounded_caption=with_coordinates(ask_caption()),
    text=ask_text,
    location=ask_location,
    locations=lambda *phrases: ask_locations(phrases),
    detection=ask_detection(),
    say_detection=say_detection,
    say_absent=say_absent,
)
"""What Ferret is asked by each verb."""
