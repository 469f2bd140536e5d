"""foveal's models in lmms-eval, whose tasks then run on whatever `Session.open` opens; found by the entry point `lmms_eval.models`.

    lmms-eval --model foveal --model_args pretrained=ferret-v2-nano,places=fractions --tasks refcoco_bbox_rec_val --batch_size 16

lmms-eval (0.7 or newer) is no dependency: without it this module can be imported, and its class says what is missing.
"""

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from foveal.data.images import ImageError, load_image, picture_from
from foveal.geometry import Point, bounding_box
from foveal.grounding import Example, GroundedText, Turn
from foveal.session.answers import Options

try:
    from lmms_eval.api.model import lmms as _Base
except ImportError:
    _Base = object

__all__ = ["Foveal", "manifest", "written"]

_LOG = logging.getLogger(__name__)


def manifest() -> Any:
    """What lmms-eval registers: the model `foveal`."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="foveal", simple_class_path=f"{__name__}.{Foveal.__name__}")


class Foveal(_Base):  # type: ignore[misc, valid-type]
    """A session as lmms-eval's model: it answers `generate_until` requests with one picture each.

    `pretrained` is what `Session.open` takes. `places` says what becomes of the places in an answer: "none" leaves its words alone, "fractions"
    writes `[x0, y0, x1, y1]` in fractions of the image behind the words, as the tasks of RefCOCO read them, "raw" is the model's own spelling. A
    request that cannot be answered (no picture, or several) gets an empty answer, and a line in the log.
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str = "ferret-v2-nano",
        device: str | None = None,
        dtype: str | None = None,
        batch_size: int | str = 16,
        places: str = "none",
    ) -> None:
        if _Base is object:
            raise ValueError("lmms-eval is not installed; `pip install lmms-eval` brings it.")
        if places not in ("none", "fractions", "raw"):
            raise ValueError(f"places={places}; none, fractions or raw is wanted.")
        from foveal.session import Session

        super().__init__()
        self.session = Session.open(pretrained, device, dtype)
        self.batch_size = int(batch_size)
        self.places = places

    @property
    def device(self) -> Any:
        """Where the model is."""
        return self.session.model.device

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """An answer to each request, in their order; those that follow each other with the same settings are answered together."""
        said: list[str] = []
        for _, alike in itertools.groupby(requests, key=lambda request: repr(request.args[1])):
            some = list(alike)
            settings: Mapping[str, Any] = some[0].args[1]
            for request, answer in zip(some, self._answers(some, settings), strict=True):
                if answer.error is not None:
                    _LOG.warning("%s, document %s: %s", request.args[4], request.args[3], answer.error)
                said.append(_cut(answer.raw if self.places == "raw" else written(answer.said, self.places), settings.get("until") or ()))
                self.cache_hook.add_partial("generate_until", request.args[:2], said[-1])
        return said

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """ValueError: a session answers, and judges no answers."""
        raise ValueError("foveal's models answer questions; a task that asks how likely an answer is cannot be run on them.")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """ValueError: a session is asked for one answer at a time."""
        raise ValueError("foveal's models are asked for one answer at a time; a task of several rounds cannot be run on them.")

    def _answers(self, requests: Sequence[Any], settings: Mapping[str, Any]) -> Iterable[Any]:
        temperature = float(settings.get("temperature") or 0) if settings.get("do_sample", True) else 0.0
        options = Options(max_new_tokens=int(settings.get("max_new_tokens") or 256), temperature=temperature, batch=self.batch_size)
        return self.session.answer((self._example(*request.args) for request in requests), options)

    def _example(self, context: str, settings: Any, doc_to_visual: Any, doc: Any, task: str, split: str) -> Example:
        visuals = doc_to_visual(self.task_dict[task][split][doc]) or []
        question = Turn("user", GroundedText(context.replace("<image>", "").strip()))
        try:
            images = tuple(picture_from(load_image(visual)) for visual in visuals)
        except ImageError:  # a video, or what is no picture: it is refused as if there were none
            images = ()
        return Example(f"{task}/{doc}", images, (question,))


def written(said: GroundedText, places: str = "fractions") -> str:
    """The words of an answer, and with "fractions" each place behind the words that it belongs to.

    >>> from foveal.geometry import Box
    >>> from foveal.grounding import tied
    >>> written(tied("a cup", Box(0.1, 0.2, 0.5, 1.0))), written(tied("a cup", Box(0.1, 0.2, 0.5, 1.0)), "none")
    ('a cup [0.100, 0.200, 0.500, 1.000]', 'a cup')
    """
    if places == "none":
        return said.text
    pieces, end = [], 0
    for span in sorted(said.spans, key=lambda span: span.end):
        pieces.append(said.text[end : span.end])
        for region in span.regions:
            box = bounding_box(region)
            numbers = (region.x, region.y) if isinstance(region, Point) else (box.x0, box.y0, box.x1, box.y1)
            pieces.append(f" [{', '.join(f'{number:.3f}' for number in numbers)}]")
        end = span.end
    return ("".join(pieces) + said.text[end:]).strip()


def _cut(text: str, until: str | Sequence[str]) -> str:
    """The text up to the first of the strings that end it."""
    for stop in [until] if isinstance(until, str) else until:
        text = text.split(stop)[0] if stop else text
    return text
