"""The data sets of the recipes: the name of each one's file, and the command that makes it of the official files."""

from collections.abc import Mapping
from pathlib import Path

from foveal.data.mixture import Examples, Part, Task
from foveal.data.stored import Stored, StoredShards

__all__ = ["FILES", "FOLDERS", "command", "part", "stored"]

_DUE = "train/document.jsonl --as due --images"

FILES: Mapping[str, str] = {
    "ai2d": "ai2d/questions ai2d/annotations ai2d_test_ids.csv --as ai2d --images ai2d/images",
    "chartqa_augmented": "ChartQA/train/train_augmented.json --as chartqa --images ChartQA/train/png",
    "chartqa_human": "ChartQA/train/train_human.json --as chartqa --images ChartQA/train/png",
    "coco_captions": "annotations/captions_train2017.json --as coco-captions --images train2017",
    "deepform": f"DeepForm/{_DUE} DeepForm/png",
    "detailed_captions": "detailed_caption.json --as qwen --images CC3M",
    "docvqa": "train_v1.0_withQT.json --as docvqa --images DocVQA",
    "flickr30k": "Flickr30kEntities --as flickr30k --set split_file=Flickr30kEntities/train.txt --images flickr30k-images",
    "gqa": "train_balanced_questions.json --as gqa --images GQA/images",
    "image_text": "'shards/*.tar' --as webdataset",
    "infovqa": "infographicsVQA_train_v1.0.json --as infographicsvqa --images InfographicsVQA",
    "klc": f"KleisterCharity/{_DUE} KleisterCharity/png",
    "llava_instruct": "llava_instruct_150k.json --as llava --images train2017",
    "lvis": "lvis_v1_train.json --as lvis --set masks=true --images COCO",
    "narratives": "'coco_train_localized_narratives-*.jsonl' --as narratives --set together=true --images COCO",
    "objects365": "zhiyuan_objv2_train.json --as objects365 --images Objects365/train",
    "ocrvqa": "OCR-VQA/dataset.json --as ocr-vqa --images OCR-VQA/images",
    "okvqa": "OpenEnded_mscoco_train2014_questions.json mscoco_train2014_annotations.json --as vqa --images train2014",
    "refcoco": "'refcoco/refs(unc).p' refcoco/instances.json --as refcoco --set split=train --images train2014",
    "refcoco_plus": "'refcoco+/refs(unc).p' refcoco+/instances.json --as refcoco --set split=train --images train2014",
    "refcocog": "'refcocog/refs(umd).p' refcocog/instances.json --as refcoco --set split=train --images train2014",
    "referring_coco": "mixed-coco/instances.json train --as uninext --images train2014",
    "referring_flickr": "mixed-flickr30k/instances.json train --as uninext --images flickr30k-images",
    "referring_masks": "merged_coco_train.json --as mdetr --set masks=true --images train2014",
    "referring_vg": "mixed-vg/instances.json train --as uninext --images VG",
    "scienceqa": "problems.json --as scienceqa --set split=train --images ScienceQA",
    "sharegpt4v_instruct": "sharegpt4v_mix665k_cap23k_coco-ap9k_lcs3k_sam9k_div2k.json --as llava --images ShareGPT4V",
    "sharegpt4v_pretrain": "share-captioner_coco_lcs_sam_1246k_1107.json --as llava --images ShareGPT4V",
    "tabfact": f"TabFact/{_DUE} TabFact/png",
    "textcaps": "TextCaps_0.1_train.json --as textcaps --images train_images",
    "textvqa": "TextVQA_0.5.1_train.json --as textvqa --images train_images",
    "vg_dense": "vg/annotations/train.json --as vg-dense --images VG",
    "vg_objects": "objects.json image_data.json --as vg-objects --images VG",
    "vg_regions": "region_descriptions.json image_data.json --as vg-regions --images VG",
    "vg_relationships": "relationships.json image_data.json --as vg-relationships --images VG",
    "visualmrc": "VisualMRC/train.jsonl --as visualmrc --images VisualMRC/images",
    "vizwiz": "VizWiz/train.json --as vizwiz --images VizWiz/train",
    "vqav2": "v2_OpenEnded_mscoco_train2014_questions.json v2_mscoco_train2014_annotations.json --as vqa --images train2014",
    "wtq": f"WikiTableQuestions/{_DUE} WikiTableQuestions/png",
}
"""What `foveal data convert` is told of each: the official files, which data set it is, its settings and the folder of its pictures."""

FOLDERS = ("image_text",)
"""Those whose pictures lie in archives: they become a folder of Parquet shards. Any other may be one too."""


def command(name: str, root: Path) -> str:
    """The command that makes a data set's file.

    >>> command("vg_objects", Path("data"))
    'foveal data convert objects.json image_data.json --as vg-objects --images VG --out data/vg_objects.jsonl'
    """
    return f"foveal data convert {FILES[name]} --out {root / name}{'' if name in FOLDERS else '.jsonl'}"


def stored(root: Path, name: str) -> Examples:
    """The examples of `name.jsonl` in the folder of all data sets, or of its folder of shards. ValueError, with the command, where there is none."""
    if (root / name).is_dir():
        return StoredShards(root / name)
    if not (file := root / f"{name}.jsonl").is_file():
        raise ValueError(f"{root} has no {name}.jsonl; this makes it: {command(name, root)}")
    return Stored(file)


def part(root: Path, name: str, weight: float, task: Task) -> Part:
    """A data set as part of a mixture."""
    return Part(stored(root, name), weight, task)
