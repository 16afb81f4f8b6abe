"""What a training run needs to know: data, model, length, devices, places."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from vedette.config.base import Config, SizeHWField
from vedette.config.spellings import same_meaning

AUTOMATIC = -1
"""The batch size that stands for one that is fitted to the memory of the GPU."""


def _check_batch_size(value: int) -> int:
    if value != AUTOMATIC and not 1 <= value <= 65_536:
        raise ValueError("should be greater than or equal to 1 and at most 65536, or -1")
    return value


def _as_words(value: object) -> object:
    """Let numbers stand among words, or one alone, as Python and YAML have them."""
    values = value if isinstance(value, (list, tuple)) else (value,)
    return tuple(str(entry) if type(entry) is int else entry for entry in values)


BatchSize = Annotated[int, AfterValidator(_check_batch_size)]
Words = Annotated[tuple[str, ...], BeforeValidator(_as_words)]


class TrainConfig(Config):
    """Everything about a run except the hyperparameters, which have a class of their own."""

    data: str = Field("", description="Data set: a YAML file, or the name of one that ships with the package")
    weights: str = Field("", description="Checkpoint to start from; empty: from scratch")
    cfg: str = Field(
        "",
        description="Model to build: a name such as yolov5n, yolov5s@v7.0, or a YAML file; "
        "empty: that of --weights, else yolov5s",
        json_schema_extra={"flags": ["--cfg", "--model"]},
    )
    hyp: str = Field(
        "default",
        description="Hyperparameters: default, yolov5-v4, yolov5-v4-finetune, yolov5-v7-low, yolov5-v7-med, "
        "yolov5-v7-high, or a YAML file",
    )
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = Field(300, description="Passes over the data set")
    time_budget: Annotated[float, Field(ge=0)] = Field(
        0.0,
        description="Stop after so many hours, with the schedule fitted to what can be done in them; 0: no limit",
        json_schema_extra={"flags": ["--time-budget", "--time"]},
    )
    patience: Annotated[int, Field(ge=0)] = Field(
        0, description="Stop when so many epochs in a row brought no better model; 0: never"
    )
    batch_size: BatchSize = Field(
        16,
        description="Pictures per batch, over all devices; -1: what fits into the memory of a GPU, 16 elsewhere",
        json_schema_extra={"flags": ["--batch-size", "--batch", "-b"]},
    )
    image_size: SizeHWField = Field(
        (640, 640),
        description="Size of the training frames: one number, or height and width",
        json_schema_extra={"flags": ["--img-size", "--img", "--imgsz"]},
    )
    device: str = Field("", description="cpu, 0, cuda:1, mps; empty: the first GPU, else the CPU")
    precision: Literal["auto", "float32", "bf16", "fp16"] = Field(
        "auto", description="Arithmetic of the network; weights and their average stay float32"
    )
    optimizer: Literal["SGD", "Adam", "AdamW"] = Field("SGD", description="Update rule")
    adam: bool = Field(False, description="The same as --optimizer Adam")
    schedule: Literal["cosine", "linear"] = Field("cosine", description="Shape of the learning rate")
    cos_lr: bool = Field(False, description="The same as --schedule cosine")
    linear_lr: bool = Field(False, description="The same as --schedule linear")
    freeze: Words = Field(
        (),
        description="Layers that stay as they are: one number N for the first N, several numbers for these layers, "
        "or names: backbone, neck, head, backbone.p3, model.3",
    )
    noautoanchor: bool = Field(
        False, description="Keep the anchors of the model, also where they fit the boxes badly"
    )
    single_cls: bool = Field(False, description="Train as if all boxes were of one class, named item")
    rect: bool = Field(
        False, description="Batches of pictures of similar shape, in frames cut to it; switches mosaics off"
    )
    multi_scale: bool = Field(
        False, description="Change the size of the frames by up to half, batch by batch"
    )
    quad: bool = Field(
        False, description="Join the pictures of a batch in fours, each into one of twice the size"
    )
    image_weights: bool = Field(
        False, description="Draw pictures more often that hold what is rare or found badly"
    )
    repeat_threshold: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        0.0, description="Repeat pictures of classes that are in fewer than this part of all pictures; 0: off"
    )
    sync_bn: bool = Field(False, description="Normalize over the parts that all GPUs have of a batch")
    rank_timeout: Annotated[float, Field(gt=0, le=3600)] = Field(
        30.0, description="Seconds after which a rank that does not answer is taken for dead"
    )
    local_rank: int = Field(
        -1,
        description="Taken and not used: torchrun sets the environment",
        json_schema_extra={"flags": ["--local-rank", "--local_rank"]},
    )
    workers: Annotated[int, Field(ge=-1, le=256)] = Field(
        -1, description="Processes that load pictures; -1: fitted to the machine. Does not change the result"
    )
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(0, description="CPU threads of the network; 0: all")
    cache: Literal["auto", "none", "ram", "disk"] = Field(
        "auto",
        description="Keep decoded pictures between epochs; auto: in memory if they fit easily",
        json_schema_extra={"flags": ["--cache", "--cache-images"], "bare": "ram"},
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="Seed of everything random")
    on_bad_label: Literal["skip", "error"] = Field(
        "skip",
        description="List bad label rows and leave them out (at most 1 % of all), or stop at the first",
    )
    val_interval: Annotated[int, Field(ge=1)] = Field(
        1, description="Measure after every so many epochs, and after the last"
    )
    noval: bool = Field(
        False,
        description="Measure after the last epoch only",
        json_schema_extra={"flags": ["--noval", "--notest"]},
    )
    noplots: bool = Field(False, description="Draw no plots and pictures; the report has tables only")
    save_period: Annotated[int, Field(ge=-1)] = Field(
        -1, description="Also keep the weights of every so many epochs; below 1: last and best only"
    )
    nosave: bool = Field(False, description="Write checkpoints after the last epoch only")
    save_seconds: Annotated[float, Field(ge=0)] = Field(
        300.0, description="Also save the state inside an epoch after this many seconds; 0: never"
    )
    resume: str = Field(
        "",
        description="Continue a run: its folder; given alone: the newest run of --project",
        json_schema_extra={"bare": "last"},
    )
    project: str = Field("runs/train", description="Folder that holds the runs")
    name: str = Field("exp", description="Name of the run; a number is added if it exists")
    exist_ok: bool = Field(False, description="Write into an existing run folder of that name")
    track: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = Field(
        (), description="Also tell these trackers; each needs its package"
    )
    entity: str = Field("", description="Owner of the run at Weights & Biases")
    log_imgs: Annotated[int, Field(ge=0, le=100)] = Field(
        16, description="Validation pictures with boxes for the trackers"
    )
    bbox_interval: Annotated[int, Field(ge=-1)] = Field(
        -1, description="Send these pictures every so many epochs; below 1: after the last"
    )
    log_artifacts: bool = Field(False, description="Send checkpoints to the trackers as versioned artifacts")
    upload_dataset: bool = Field(False, description="Register the data set with the trackers, by reference")
    bucket: str = Field(
        "", description="Cloud folder (gs://...) that weights and results are copied to by gsutil"
    )
    evolve: str = Field(
        "",
        description="Search hyperparameters over so many generations: see `vedette tune`",
        json_schema_extra={"bare": "300"},
    )

    @model_validator(mode="before")
    @classmethod
    def _settle_spellings(cls, values: object) -> object:
        return same_meaning(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _check_patience(self) -> TrainConfig:
        if self.patience and self.noval:
            raise ValueError("--patience needs measurements, and --noval leaves them out")
        return self
