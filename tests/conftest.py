"""Parts that many tests share: a tiny Ferret and a tiny PixelLLM with random weights, and their processors; a server of chat completions."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

IDS = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A tokenizer of single bytes: lossless, one token for each digit, with Ferret's control tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    control = ["<pad>", "<s>", "</s>", "<image>", "<region_fea>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE({token: place for place, token in enumerate(control + letters)}, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>", additional_special_tokens=["<image>", "<region_fea>"]
    )


def build_ferret(tokenizer: Any, **fields: Any) -> Any:
    """A Ferret-v2 of two layers everywhere, and its processor; `fields` change its configuration."""
    import torch

    from foveal.models import FerretConfig, FerretForConditionalGeneration, FerretProcessor

    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14, "image_size": 28}
    settings = {
        "vision_config": {**small, "model_type": "clip_vision_model", "intermediate_size": 32, "projection_dim": 16},
        "local_vision_config": {**small, "model_type": "dinov2"},
        "text_config": {
            "model_type": "llama",
            "vocab_size": len(tokenizer),
            "hidden_size": 24,
            "intermediate_size": 40,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        "overview_side": 28,
        "tile_side": 28,
        "grids": [[1, 1], [1, 2], [2, 1], [2, 2]],
        "sampler_points": 16,
        "sampler_anchors": [8, 4],
        "sampler_neighbours": 4,
        "position_cells": 4,
        "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        "region_token_id": tokenizer.convert_tokens_to_ids("<region_fea>"),
        "template": "plain_chat",
        "context_length": 512,
    }
    torch.manual_seed(0)
    config = FerretConfig(**(settings | fields))
    return FerretForConditionalGeneration(config).eval(), FerretProcessor.from_config(config, tokenizer)


@pytest.fixture(scope="session")
def make_ferret(tokenizer: Any) -> Any:
    """Builds a (model, processor) with other settings: `make_ferret(grids=[])`."""
    return partial(build_ferret, tokenizer)


@pytest.fixture(scope="session")
def ferret(make_ferret: Any) -> Any:
    """The tiny (model, processor); not to be changed."""
    return make_ferret()


def word_pieces() -> PreTrainedTokenizerFast:
    """BERT's way with a small vocabulary: some words, and the letters of all others."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    control = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = ["a", "an", "the", "and", "of", "on", "in", "is", "cup", "hat", "##s", "dog", "red", "where", "what", "photo", "object", "how", "many"]
    letters = [chr(place) for place in range(33, 127) if not chr(place).isupper()]
    entries = [*control, *words, *letters, *(f"##{letter}" for letter in letters if letter.isalnum())]
    made = Tokenizer(models.WordPiece({entry: place for place, entry in enumerate(dict.fromkeys(entries))}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(prefix="##")
    named = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]", "pad_token": "[PAD]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **named)


@pytest.fixture(scope="session")
def pieces() -> PreTrainedTokenizerFast:
    """The tokenizer."""
    return word_pieces()


def build_pixel_llm(tokenizer: PreTrainedTokenizerFast, kind: str = "bert", **fields: Any) -> Any:
    """A PixelLLM of two layers everywhere at 56 px, and its processor; `kind` says which language model, `fields` change the configuration."""
    import torch

    from foveal.models import PixelLLMConfig, PixelLLMForConditionalGeneration, PixelLLMProcessor

    texts = {
        "bert": {
            "model_type": "bert",
            **SMALL,
            **IDS,
            "max_position_embeddings": 48,
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
        },
        "t5": {"model_type": "t5", "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0},
        "llama": {"model_type": "llama", **SMALL, **IDS, "num_key_value_heads": 2},
    }
    texts["t5"] |= {"feed_forward_proj": "gated-gelu", "eos_token_id": 3, "pad_token_id": 0, "decoder_start_token_id": 0}
    tower = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 24}
    settings = {
        "vision_config": {**tower, "model_type": "eva02_vision", "intermediate_size": 64, "position_cells": 2, "drop_path": 0.0},
        "place_config": {**tower, "model_type": "sam_vision_model", "output_channels": 32, "image_size": 64, "patch_size": 16, "mlp_dim": 48},
        "text_config": {**texts[kind], "vocab_size": len(tokenizer)},
        **{"side": 56, "prompt_dim": 32, "extractor_width": 32, "extractor_depth": 2, "extractor_heads": 4, "extractor_mlp": 48, "queries": 4},
        **{"visual_dim": 24, "location_hidden": 16, "segments": True, "mask_mlp": 32, "mask_hidden": 16, "scored_places": True, "text_length": 24},
    }
    settings["place_config"] |= {"window_size": 2, "global_attn_indexes": [1]}
    torch.manual_seed(0)
    config = PixelLLMConfig(**(settings | fields))
    model = PixelLLMForConditionalGeneration(config).eval()
    with torch.no_grad():  # as they begin, they hardly tell one word from another, and words do not bend masks
        for name, value in model.named_parameters():
            if value.ndim > 1 and name.startswith(("writer", "location_head", "mask_adapter")):
                value.normal_(std=0.15 if kind == "t5" else 0.3)  # T5 does not scale its scores
    return model, PixelLLMProcessor.from_config(config, tokenizer)


@pytest.fixture(scope="session")
def make_pixel_llm(pieces: PreTrainedTokenizerFast) -> Any:
    """Builds a (model, processor) with other settings: `make_pixel_llm("t5", segments=False)`."""
    return partial(build_pixel_llm, pieces)


@pytest.fixture(scope="session")
def pixel_llm(make_pixel_llm: Any) -> Any:
    """The tiny (model, processor); not to be changed."""
    return make_pixel_llm()


class ChatServer:
    """A real HTTP server that speaks OpenAI's chat completions. `respond` makes the text of a reply of a request's body, or (status, headers, body)
    of whatever else comes over the wire; `requests` holds (path, headers, body) of each request, in the order in which they came."""

    def __init__(self, respond: Callable[[dict[str, Any]], Any]) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        outer = self

        class Speaker(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                status, headers, content = _spoken(respond(body), body)
                self.send_response(status)
                for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(content))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):  # whoever asked may be gone
                    self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Speaker)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()


def _spoken(said: Any, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    if not isinstance(said, str):
        return said
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
    used = {"prompt_tokens": len(json.dumps(body["messages"])), "completion_tokens": len(said), "total_tokens": 0}
    reply = {"id": "1", "object": "chat.completion", "created": 1, "model": f"{body['model']}-0314", "choices": [choice], "usage": used}
    return 200, {}, json.dumps(reply).encode()


@pytest.fixture(autouse=True)
def same_path() -> Iterator[None]:
    """Whatever a test puts on the path where modules are looked for is taken away: a process that a later test begins would look there, too."""
    before = list(sys.path)
    yield
    sys.path[:] = before


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[dict[str, Any]], Any]], ChatServer]]:
    """Starts a `ChatServer` for a test: `serve(lambda body: "a reply")`."""
    started: list[ChatServer] = []

    def start(respond: Callable[[dict[str, Any]], Any]) -> ChatServer:
        started.append(ChatServer(respond))
        return started[-1]

    yield start
    for one in started:
        one.close()
