"""Checkpoints as their authors published them, written out from the recorded tiny weights."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

TOWER = "model.vision_tower.vision_tower."
LICENCE_HEAD = "---\nlicense: other\nlicense_name: some-research-licence\n---\n\n# Weights\n"


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of recordings, with `model` and `text`; skipped without it unless FOVEAL_PARITY asks for one."""
    asked = os.environ.get("FOVEAL_PARITY")
    folder = Path(asked or Path(__file__).parents[4] / "shared" / "parity") / "ferret"
    if not folder.is_dir():
        if asked:
            pytest.fail(f"FOVEAL_PARITY is {asked}, which holds no recordings of Ferret")
        pytest.skip(f"no recordings at {folder}; set FOVEAL_PARITY to their folder")
    return folder


class Published:
    """Writes fake published folders: `kind` is the name of the recorded weights (`ui`, `v1`, `v1_avg`)."""

    def __init__(self, recordings: Path, kind: str) -> None:
        said = json.loads((recordings / f"model/weights_{kind}.json").read_text())
        self.kind, self.said, self.recordings = kind, said["config"], recordings
        self.weights = load_file(recordings / f"model/weights_{kind}.safetensors")
        added = _pieces(recordings) + 1 - self.said["llm"]["vocab"]  # rows for all tokens of the recorded tokenizer, and one more
        generator = torch.Generator().manual_seed(0)
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            rows = self.weights[name]
            self.weights[name] = torch.cat([rows, torch.randn(added, rows.shape[1], generator=generator)])
        self.region = self.weights["lm_head.weight"].shape[0] - 1

    @property
    def language(self) -> dict[str, Tensor]:
        """The part that a base has too."""
        names = ("model.layers.", "model.embed_tokens", "model.norm", "lm_head")
        return {name: weight for name, weight in self.weights.items() if name.startswith(names)}

    def settings(self) -> dict:
        words, vision = self.said["llm"], self.said["vision"]
        settings = {
            "model_type": "ferret" if self.kind.startswith("v1") else "ferret_llama",
            "architectures": ["FerretLlamaForCausalLM"],
            "vocab_size": words["vocab"],
            "hidden_size": words["hidden"],
            "intermediate_size": words["intermediate"],
            "num_hidden_layers": words["layers"],
            "num_attention_heads": words["heads"],
            "num_key_value_heads": words["kv_heads"],
            "rms_norm_eps": words["rms_norm_eps"],
            "rope_theta": words["rope_theta"],
            "tie_word_embeddings": words["tie"],
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": -1,
            "torch_dtype": "float16",
            "mm_vision_tower": "openai/clip-vit-large-patch14-336",
            "mm_hidden_size": vision["hidden"],
            "mm_vision_select_layer": vision["select_layer"],
            "mm_vision_select_feature": "patch",
            "sampler_pooler_mode": self.said["sampler"]["pooler"],
            "im_region_fea_token": self.region,
            "mm_use_im_start_end": False,
            "mm_use_im_patch_token": False,
            "use_mm_proj": True,
            "tune_mm_mlp_adapter": False,
            "image_aspect_ratio": "square_nocrop",
        }
        settings["region_fea_adapter" if self.kind == "v1_avg" else "region_geo_sampler"] = True
        if not self.kind.startswith("v1"):
            settings |= {"image_aspect_ratio": "anyres", "mm_patch_merge_type": "spatial", "image_grid_pinpoints": self.said["pinpoints"]}
            settings |= {"mm_projector_type": self.said["projector"], "tokenizer_model_max_length": 4096, "tokenizer_padding_side": "right"}
        return settings

    def tower_settings(self) -> dict:
        vision = self.said["vision"]
        return {
            "model_type": "clip_vision_model",
            "hidden_size": vision["hidden"],
            "intermediate_size": vision["intermediate"],
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": vision["heads"],
            "image_size": vision["image"],
            "patch_size": vision["patch"],
            "hidden_act": vision["act"],
            "layer_norm_eps": vision["layer_norm_eps"],
        }

    def write(self, folder: Path, *, tower: str = "inside", weights: dict[str, Tensor] | None = None, **changes: object) -> Path:
        """A whole folder; the image encoder is `inside` the weights, in the `sub-folder`, or `elsewhere`. A setting of None is left out."""
        folder.mkdir(parents=True)
        held = dict(self.weights if weights is None else weights)
        held = held if tower == "inside" else {name: weight for name, weight in held.items() if not name.startswith(TOWER)}
        save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
        settings = {name: value for name, value in (self.settings() | changes).items() if value is not None}
        (folder / "config.json").write_text(json.dumps(settings))
        shutil.copyfile(self.recordings / "text/tokenizer.model", folder / "tokenizer.model")
        (folder / "added_tokens.json").write_text(json.dumps({"<region_fea>": _pieces(self.recordings)}))
        (folder / "README.md").write_text(LICENCE_HEAD)
        if tower != "elsewhere":
            self.write_tower(folder / "vision_tower", with_weights=tower == "sub-folder")
        return folder

    def write_tower(self, folder: Path, *, with_weights: bool = True) -> Path:
        """A CLIP as its authors publish it: with parts that do not look."""
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": self.tower_settings()}))
        if with_weights:
            weights = {name.removeprefix(TOWER): weight for name, weight in self.weights.items() if name.startswith(TOWER)}
            weights |= {"logit_scale": torch.tensor(1.0), "text_model.final_layer_norm.weight": torch.ones(4)}
            save_file(weights | {"vision_model.embeddings.position_ids": torch.arange(5)}, folder / "model.safetensors")
        return folder


def _pieces(recordings: Path) -> int:
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_file=str(recordings / "text/tokenizer.model")).vocab_size()


@pytest.fixture
def published(recordings: Path) -> Callable[[str], Published]:
    """`published("ui").write(folder)` writes a checkpoint."""
    return lambda kind: Published(recordings, kind)
