"""`foveal models`: what ships, and what each model accepts."""

import json
from typing import Any

from foveal.cli.settings import DEFAULT_MODEL, Json
from foveal.zoo import list_models, model_path, model_summary

__all__ = ["models"]

_PLACES = {
    "ferret": ("points", "boxes", "masks", "scribbles"),
    "monkey": ("boxes, put into words",),
    "pixel_llm": ("a point", "a box", "a scribble", "the box around a mask"),
}
_ANSWERS = {"ferret": "words and boxes", "monkey": "words", "pixel_llm": "words, each with its place, boxes and masks"}


def models(as_json: Json = False) -> None:
    """List the models that ship, their size, and what each accepts."""
    found = [_described(name) for name in list_models()]
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    if not found:
        print("No model ships with this copy of foveal; give --model a folder, or owner/name on the hub.")
    for one in found:
        default = " (the default)" if one["name"] == DEFAULT_MODEL else ""
        print(f"{one['name']}{default}: {one['megabytes']:.1f} MB, {one['kind']}")
        print(f"  asks about the whole image, and about {', '.join(one['places'])}; answers with {one['answers']}")
        print(f"  {one['views']}")
        if one["summary"]:
            print(f"  {one['summary']}")


def _described(name: str) -> dict[str, Any]:
    path = model_path(name)
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    kind = config.get("model_type", "unknown")
    size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    return {
        "name": name,
        "kind": kind,
        "megabytes": round(size / 1e6, 1),
        "places": list(_PLACES.get(kind, ())),
        "answers": _ANSWERS.get(kind, "words"),
        "views": _views(config),
        "summary": model_summary(name),
    }


def _views(config: dict[str, Any]) -> str:
    if canvas := config.get("canvas"):
        side = config["window"]
        parts = [f"windows of {side}x{side} of it"] * config.get("windows", True) + ["the whole, shrunk"] * config.get("overview", True)
        seen = " and ".join(parts) if config.get("windows", True) else "it at once"
        return f"stretches any image to {canvas[0]}x{canvas[1]} pixels, and sees {seen}"
    tiles = max((columns * rows for columns, rows in config.get("grids", ())), default=0)
    side, tile_side = config.get("overview_side", config.get("side")), config.get("tile_side")
    return f"sees any image as {side}x{side} pixels" + (f" and, close up, as up to {tiles} tiles of {tile_side}x{tile_side}" if tiles else "")
