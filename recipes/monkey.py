"""Monkey (arXiv 2311.06607): one stage on twenty sets of captions and questions, from a Qwen-VL that is given windows and adapters."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from data_files import part
from foveal.data.mixture import Part, Task
from foveal.data.tasks import caption, followed_by, of_split, spoken
from foveal.grounding.wordings import VERBS
from foveal.grounding.wordings.monkey import VQA_HINT
from foveal.models import GroundedModel
from foveal.train import Recipe, Stage

__all__ = ["SAMPLES", "balanced", "multi_task", "multi_task_lora"]

MONKEY = VERBS["monkey"]
_CAPTION, _ASK = caption(MONKEY), of_split(spoken)

SAMPLES: Mapping[str, tuple[float, Task]] = {
    "detailed_captions": (213.0, spoken),
    "coco_captions": (82.0, _CAPTION),
    "textcaps": (109.0, _CAPTION),
    "vqav2": (100.0, _ASK),
    "okvqa": (18.0, _ASK),
    "gqa": (150.0, _ASK),
    "scienceqa": (18.0, _ASK),
    "vizwiz": (20.0, followed_by(_ASK, f" {VQA_HINT}")),
    "textvqa": (34.0, _ASK),
    "ocrvqa": (250.0, _ASK),
    "ai2d": (24.0, _ASK),
    "docvqa": (118.0, _ASK),
    "chartqa_human": (22.0, _ASK),
    "chartqa_augmented": (62.0, _ASK),
    "infovqa": (47.0, _ASK),
    "deepform": (7.0, _ASK),
    "klc": (27.0, _ASK),
    "wtq": (28.0, _ASK),
    "tabfact": (91.0, _ASK),
    "visualmrc": (21.0, _ASK),
}
"""Thousands of samples of each set, as the paper counts them; ChartQA's 84 are divided by the sizes of its two files, which is ours. The
processor writes Monkey's cue " Answer: " behind a question."""


def balanced(root: Path) -> list[Part]:
    """All sets, each by its published number of samples."""
    return [part(root, name, weight, task) for name, (weight, task) in SAMPLES.items()]


multi_task = Stage(
    recipe=Recipe(
        name="monkey-multi-task",
        learn={"vision_tower.*lora*": 1e-5, "connector.resampler": 1e-5, "language_model": 1e-5},
        steps=1_407,  # 1,441 thousand samples once
        batch=1024,
        accumulate=32,
        warmup=0.071,  # 100 steps
        weight_decay=0.1,
        betas=(0.9, 0.95),
        schedule="cosine",
        bf16=True,
        workers=4,
        save_every=100,
        seed=46,
        options={"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": False}, "ddp_find_unused_parameters": True},
    ),
    data=balanced,
)
"""The adapters of all windows, the resampler and the whole language model learn; the encoder, and the norm and matrix behind the resampler, do
not. It begins with `foveal convert Qwen-VL START --canvas 896x896 --adapters 4`."""


def adapted(model: GroundedModel) -> None:
    """From here on the language model has adapters, as in the release's variant for little memory, whose learned scale is 1 here."""
    model.adapt(32, 32.0, ("c_attn", "attn.c_proj", "w1", "w2"), dropout=0.05)


multi_task_lora = replace(
    multi_task,
    recipe=replace(
        multi_task.recipe,
        name="monkey-multi-task-lora",
        learn={"vision_tower.*lora*": 1e-5, "connector.resampler": 1e-5, "language_model.*lora_*": 1e-5},
    ),
    prepare=adapted,
    finish=lambda model: model.merge(),
)
"""The same, where little memory is: of the language model, adapters learn, and are merged in the end."""
