"""Ask a server with OpenAI's own client: a region among the words, an answer whose words have places, and a stream that tells each place."""

import base64
from pathlib import Path

from openai import OpenAI

from foveal.serve import ServeSettings
from foveal.serve.running import Listening
from foveal.session import Session

picture = base64.b64encode(Path("examples/pictures/harbour.png").read_bytes()).decode()
image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
ship = {"type": "region", "box_px": [127, 256, 227, 354]}


def text(words: str) -> dict[str, str]:
    """A part of a message that is words."""
    return {"type": "text", "text": words}


# `foveal serve ferret-v2-nano pixelllm-nano` does the same in a process of its own; then its address is http://127.0.0.1:8000.
models = {name: Session.open(name) for name in ("ferret-v2-nano", "pixelllm-nano")}
with Listening(ServeSettings(port=0), models) as address:
    client = OpenAI(base_url=f"{address}/v1", api_key="none is wanted")
    print("models:", ", ".join(model.id for model in client.models.list()))

    content = [image, text("What is "), ship, text("?")]
    answer = client.chat.completions.create(model="ferret-v2-nano", messages=[{"role": "user", "content": content}])
    print("asked about a box:", answer.choices[0].message.content)

    content = [image, text("What is the location of the ship in the image?")]
    answer = client.chat.completions.create(model="ferret-v2-nano", messages=[{"role": "user", "content": content}])
    for span in answer.choices[0].message.grounding:
        print(f"found: {span['text']} at {[round(value) for value in span['regions'][0]['box_px']]}")

    content = [image, text("A photo of ")]
    for chunk in client.chat.completions.create(model="pixelllm-nano", messages=[{"role": "user", "content": content}], stream=True):
        delta = chunk.choices[0].delta
        for span in getattr(delta, "grounding", None) or []:
            print(f"word by word: {span['text']} {[round(value) for value in span['regions'][0]['box_px']]}")
