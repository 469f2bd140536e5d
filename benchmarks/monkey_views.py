"""CPU seconds and memory of Monkey's views beside a plain model: `python benchmarks/monkey_views.py`. Every figure is of a process of its own."""

import argparse
import base64
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from PIL import Image

from foveal.models import MonkeyConfig, MonkeyForConditionalGeneration, MonkeyProcessor
from foveal.models.monkey.tokens import ranks_tokenizer
from foveal.session import Session
from plain_monkey import plain_resampled, plain_views
from ways import print_ways, seconds

__all__ = ["main", "measure"]

LAYERS, SIDE = 4, 448
"""Of the encoder's 48 layers at its real width of 1664, and of a view in pixels."""
EIGHTH = {"hidden_size": 208, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 2}
EIGHTH_TEXT = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 4, "num_attention_heads": 4}
"""A Monkey an eighth as wide and as deep in both parts, for what is asked of an image that has been seen."""
QUESTIONS = [f"What is written in line {number} of the sign?" for number in range(1, 11)]


def measure(kind: str, precision: str, repeats: int, keep: Path | None = None) -> dict[str, float]:
    """The tokens of four windows and the whole: CPU and wall seconds (best of `repeats`, warmed up on one view), peak memory in GB."""
    model = _model({"hidden_size": 1664, "num_hidden_layers": LAYERS}, {"hidden_size": 4096, "num_hidden_layers": 0}).to(getattr(torch, precision))
    torch.manual_seed(1)
    windows, wholes = torch.randn(4, 3, SIDE, SIDE), torch.randn(1, 3, SIDE, SIDE)
    run = partial(plain_views, model) if kind == "plain" else partial(_our_views, model)
    with torch.inference_mode():
        run(windows[:0], wholes)
        found: list[torch.Tensor] = []
        spent = [seconds(lambda: found.append(run(windows, wholes))) for _ in range(repeats)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if keep:
        torch.save(found[-1].float(), keep)
    cpu, wall = map(min, zip(*spent, strict=True))
    return {"cpu": cpu, "wall": wall, "peak": peak}


def main() -> None:
    """Prints three tables: five views, the resampler's positions, and ten questions of one image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=2, metavar=("KIND", "PRECISION"), help="measure one run and print it as JSON")
    parser.add_argument("--keep", type=Path, help="with --one: where the tokens are written")
    parser.add_argument("--repeats", type=int, default=1, help="with --one: runs in the process")
    parser.add_argument("--runs", type=int, default=5, help="runs of each of the two, in turn")
    parser.add_argument("--bf16", action="store_true", help="measure bfloat16 even where the processor has no products of it")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(*given.one, given.repeats, given.keep)))
        return
    print(f"five views of {SIDE} px, {LAYERS} layers of width 1664, {torch.get_num_threads()} threads, median of {given.runs} runs in turn")
    print("| precision | plain CPU s | foveal CPU s | ratio | by the clock | plain peak GB | foveal peak GB | ratio | distance |")
    print("|" + "---|" * 9)
    _print_views("float32", given.runs, 1e-4)
    if given.bf16 or torch.cpu.get_capabilities().get("avx512_bf16") or torch.cpu.get_capabilities().get("amx_bf16"):
        _print_views("bfloat16", given.runs, 2e-2)
    else:
        print("\nbfloat16 was left out: this processor has no products of it and takes some fifty times as long; --bf16 measures it all the same.")
    _print_positions(given.runs)
    _print_questions(given.runs)


def _print_views(precision: str, runs: int, tolerance: float) -> None:
    """One row: the two in turn, each in a process of its own, and how far apart their tokens are."""
    found: dict[str, list[dict[str, float]]] = {"plain": [], "foveal": []}
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: Path(folder) / f"{kind}.pt" for kind in found}
        for turn in range(runs):
            for kind, file in files.items():
                found[kind].append(_in_a_process(kind, precision, None if turn else file))
        plain, ours = (torch.load(file) for file in files.values())
    distance = float((ours - plain).norm() / plain.norm())
    assert distance < tolerance, f"the two models disagree by {distance:.1e}"
    cpu, wall, peak = ([median(run[name] for run in found[kind]) for kind in found] for name in ("cpu", "wall", "peak"))
    speed = (f"{cpu[0]:.2f}", f"{cpu[1]:.2f}", f"{cpu[0] / cpu[1]:.2f}", f"{wall[0] / wall[1]:.2f}")
    memory = (f"{peak[0]:.2f}", f"{peak[1]:.2f}", f"{peak[1] / peak[0]:.2f}")
    print(f"| {precision} | {' | '.join((*speed, *memory))} | {distance:.1e} |", flush=True)


def _in_a_process(kind: str, precision: str, keep: Path | None) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", kind, precision, *(["--keep", str(keep)] if keep else [])]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def _print_positions(runs: int) -> None:
    """The resampler at its real width over the patches of one view: positions resized at every call, as they are, and kept."""
    connector = _model({"hidden_size": 1664, "num_hidden_layers": 0}, {"hidden_size": 4096, "num_hidden_layers": 0}).connector
    maps = torch.randn(1, SIDE // 14, SIDE // 14, 1664)
    table = connector.resampler.positions

    def recomputed() -> None:
        table._kept.clear()
        connector(maps)

    ways: dict[str, tuple[float, Callable[[], object]]] = {
        "plain, positions resized at every call": (1, lambda: plain_resampled(connector, maps.flatten(1, 2))),
        "foveal, positions resized at every call": (1, recomputed),
        "foveal, positions kept": (1, lambda: connector(maps)),
    }
    with torch.inference_mode():
        connector(maps)
    print_ways("the resampler over one view, float32", ways, runs)


def _print_questions(runs: int) -> None:
    """Ten questions of one image, from its pixels each time (two of them are asked, for all cost the same), and of a scene."""
    session, image = _session(), Image.effect_noise((1200, 800), 80).convert("RGB")
    asked = {"max_new_tokens": 8}
    ways: dict[str, tuple[float, Callable[[], object]]] = {
        "each from its pixels": (5, lambda: [session.look(image).ask(question, **asked) for question in QUESTIONS[:2]]),
        "one scene, one by one": (1, lambda: [scene.ask(question, **asked) for scene in [session.look(image)] for question in QUESTIONS]),
        "one scene, together": (1, lambda: session.look(image).ask_many(QUESTIONS, **asked)),
    }
    session.look(image).ask_many(QUESTIONS[:1], **asked)
    print_ways("ten questions of one image, a Monkey of random weights an eighth as wide and as deep, answers of 8 tokens", ways, runs)


def _our_views(model: MonkeyForConditionalGeneration, windows: torch.Tensor, wholes: torch.Tensor) -> torch.Tensor:
    return model.encode_images(wholes, windows, torch.tensor([[2, 2]]) if len(windows) else None).tokens[0]


def _model(vision: dict[str, int], text: dict[str, int], **other: int) -> MonkeyForConditionalGeneration:
    """A Monkey of random weights whose adapters say something, the same every time."""
    torch.manual_seed(0)
    heads = text["hidden_size"] // 128
    texts = {"model_type": "qwen_7b", "vocab_size": 512, "eos_token_id": 0, "pad_token_id": 0, "num_attention_heads": heads}
    config = MonkeyConfig(vision_config={"model_type": "qwen_vision", **vision}, text_config=texts | text, connector_heads=heads, **other)
    model = MonkeyForConditionalGeneration(config).eval()
    for name, value in model.named_parameters():
        if name.endswith("_lora.up"):
            torch.nn.init.normal_(value, std=0.02)
    return model


def _session() -> Session:
    """A small Monkey over a vocabulary of single bytes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bytes.tiktoken"
        file.write_text("\n".join(f"{base64.b64encode(bytes([byte])).decode()} {byte}" for byte in range(256)))
        tokenizer = ranks_tokenizer(file)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    image = tokenizer.convert_tokens_to_ids("<imgpad>")
    model = _model(EIGHTH, {**EIGHTH_TEXT, "vocab_size": len(tokenizer), **ends}, image_token_id=image)
    return Session(model, MonkeyProcessor.from_config(model.config, tokenizer), "an eighth of Monkey")


if __name__ == "__main__":
    main()
