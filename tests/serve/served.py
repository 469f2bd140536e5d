"""What tests of the server share: a server with its clients, drawn scenes, and messages about them."""

import base64
import io
from typing import Any

import httpx2 as httpx
import numpy as np
import openai
from PIL import Image

from foveal.data.sources.scenes import SceneStyle, draw_scene
from foveal.serve.running import Listening

MODELS = ("ferret-v2-nano", "pixelllm-nano", "monkey-nano")


class Served:
    """A server that listens: its address, its app, and clients of it."""

    def __init__(self, listening: Listening, url: str) -> None:
        self.url, self.app, self.desk = url, listening.app, listening.app.state.desk
        self.http = httpx.Client(base_url=url, timeout=60)
        self.openai = openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=60)

    def close(self) -> None:
        """Ends the clients."""
        self.http.close()
        self.openai.close()


def picture(seed: int = 0) -> Image.Image:
    """A drawn scene."""
    return Image.fromarray(np.asarray(draw_scene(seed, "test", SceneStyle()).pixels))


def png(seed: int = 0) -> bytes:
    """The same, encoded."""
    file = io.BytesIO()
    picture(seed).save(file, "PNG")
    return file.getvalue()


def data_url(data: bytes, kind: str = "image/png") -> str:
    """Data as a URL."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def shown(seed: int, *parts: Any) -> list[dict[str, Any]]:
    """One message that shows a drawn scene and asks about it."""
    said = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "region", **part} for part in parts]
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url(png(seed))}}, *said]}]
