"""Settings of ``vedette detect``. Flags and published defaults: specification ``inference.md`` section 5."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from vedette.config.assembly import Augment, Compile, Ensemble, EnsembleWeights, Overlap, Tile, TileWhole
from vedette.config.base import Config, SizeHWField

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def _as_texts(value: object) -> object:
    """One path or several, as text."""
    if isinstance(value, (str, Path)):
        value = (value,)
    if isinstance(value, Sequence):
        return tuple(str(part) if isinstance(part, Path) else part for part in value)
    return value


def _flags(*names: str) -> dict[str, Any]:
    return {"flags": list(names)}


class DetectConfig(Config):
    """What to run on what, how boxes are chosen, and what is written where."""

    weights: Annotated[tuple[str, ...], BeforeValidator(_as_texts)] = Field(
        (),
        description="File of a trained detector (best.safetensors of a training run), or the name of shipped weights; "
        "several are an ensemble; default: yolov5n-voc, which knows 20 everyday classes",
    )
    source: Annotated[tuple[str, ...], BeforeValidator(_as_texts), Field(min_length=1)] = Field(
        description="Pictures, videos, streams: a file, a folder, a glob such as 'shots/**/*.jpg', a .txt list, an "
        "address (rtsp, rtmp, http, https), the number of a camera, screen; or several",
        json_schema_extra={"flags": ["--source"], "positional": True},
    )
    image_size: SizeHWField | None = Field(
        None,
        description="Size of the network's frame: one number, or height and width; default: the one it was trained for",
        json_schema_extra=_flags("--img-size", "--img", "--imgsz"),
    )
    letterbox: Literal["square", "minimal", "stretch"] | None = Field(
        None,
        description="How a picture is put into the frame; default: as the weights' file says. "
        "'minimal' pads to the next stride only, which is faster",
    )
    conf_threshold: Fraction = Field(
        0.25,
        description="Boxes with a score at or below this are left out",
        json_schema_extra=_flags("--conf-thres", "--conf"),
    )
    iou_threshold: Fraction = Field(
        0.45,
        description="Of two boxes of a class that overlap more than this (IoU), the weaker is left out",
        json_schema_extra=_flags("--iou-thres", "--iou"),
    )
    max_detections: Annotated[int, Field(ge=1, le=100_000)] = Field(
        300,
        description="At most this many boxes a picture",
        json_schema_extra=_flags("--max-det"),
    )
    classes: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None,
        description="Keep only these class numbers, for example: --classes 0 2 3",
    )
    agnostic_nms: bool = Field(
        False,
        description="Let boxes of different classes suppress each other",
    )
    augment: Augment = False
    ensemble: Ensemble = "nms"
    ensemble_weights: EnsembleWeights = None
    tile: Tile = None
    overlap: Overlap = 0.2
    tile_whole: TileWhole = True
    data: str = Field(
        "",
        description="Description of the data set the weights know; its class names are compared with theirs",
    )
    device: str = Field(
        "",
        description="cpu, 0, cuda:0 or mps; default: the first GPU, else the CPU",
    )
    runtime: Literal["auto", "pytorch", "fastest"] = Field(
        "auto",
        description="What runs a checkpoint on a CPU. auto: a faster runtime if one was prepared, else PyTorch; "
        "fastest: prepare one, once: export into the cache folder, verify, time, keep the fastest; pytorch: PyTorch",
    )
    precision: Literal["auto", "float32", "bf16", "fp16"] = Field(
        "float32",
        description="Number format of the network; boxes are decoded in float32 always",
    )
    half: bool = Field(
        False,
        description="The same as --precision fp16 on a GPU; the CPU stays at float32, and says so",
    )
    compile: Compile = False
    batch_size: Annotated[int, Field(ge=0, le=4096)] = Field(
        0,
        description="Pictures that go through the network together; 0: as many as the file takes, else fitted to the "
        "device",
        json_schema_extra=_flags("--batch-size", "--batch"),
    )
    workers: Annotated[int, Field(ge=0, le=256)] = Field(
        0,
        description="Threads that read pictures ahead of the network; 0: fitted to the machine",
    )
    threads: Annotated[int, Field(ge=0, le=1024)] = Field(
        0,
        description="CPU threads of the network; 0: as many as PyTorch chooses",
    )
    lanes: Annotated[int, Field(ge=0, le=256)] = Field(
        0,
        description="Pictures that are in the network at the same time, each on its share of the CPU threads; more a "
        "second, but each takes longer; 0: for folders and videos one a thread, at most 8, where ONNX Runtime or "
        "OpenVINO runs the network; else one",
    )
    vid_stride: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        1,
        description="Of videos and streams look at every Nth picture only",
    )
    stream_buffer: bool = Field(
        False,
        description="Look at every picture of a stream, however far that falls behind; default: at the newest",
    )
    stream_retries: Annotated[int, Field(ge=-1, le=1_000_000)] | None = Field(
        None,
        description="Attempts in a row to reach a lost stream before it is given up; -1: for ever; "
        "default: 3 if it never answered, else 40, about two minutes",
    )
    stream_timeout: Annotated[float, Field(gt=0, le=3600)] = Field(
        5.0,
        description="Seconds of silence after which a stream counts as lost",
    )
    track: bool = Field(
        False,
        description="Follow the objects of a video, a stream or a folder of successive pictures: each has an id in all "
        "results; also writes tracks/NAME.txt, one line a box",
    )
    track_high: Fraction | None = Field(
        None,
        description="With --track: boxes with a score above this may start a track; default: as --conf-thres",
    )
    track_low: Fraction = Field(
        0.1,
        description="With --track: boxes with a score above this may go on with one",
    )
    track_lost_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        1.0,
        description="With --track: an object that is out of sight for longer has another id when it comes back",
    )
    track_any_class: bool = Field(
        False,
        description="With --track: an object may change its class; default: each is of one class",
    )
    track_frame_rate: Annotated[float, Field(ge=0.001, le=100_000)] = Field(
        30.0,
        description="With --track: pictures a second of a folder; videos and streams have their own times",
    )
    track_trail_seconds: Annotated[float, Field(ge=0, le=60)] = Field(
        1.0,
        description="With --track: draw where each object was for so long; 0: not at all",
    )
    view_img: bool = Field(
        False,
        description="Show pictures with boxes in a window; q ends the run",
    )
    nosave: bool = Field(
        False,
        description="Write no pictures and no videos with boxes drawn in",
    )
    save_video: bool = Field(
        False,
        description="Write streams, too, as videos with boxes drawn in; files of videos always are",
    )
    fourcc: Annotated[str, Field(pattern="^([ -~]{4})?$")] = Field(
        "",
        description="Codec of written videos, four letters such as mp4v; default: VP8 in WebM, which browsers play",
    )
    save_crop: bool = Field(
        False,
        description="Write what is inside each box: crops/CLASS/NAME_1.jpg",
    )
    visualize: bool = Field(
        False,
        description="Write pictures of what each layer computed: features/NAME/layer_00.png; slow",
    )
    save_txt: bool = Field(
        False,
        description="Write labels/NAME.txt: class cx cy w h, relative to the picture",
    )
    save_conf: bool = Field(
        False,
        description="Add the score as the last column of those files",
    )
    save_json: bool = Field(
        False,
        description="Write predictions.jsonl: one JSON line a picture",
    )
    save_csv: bool = Field(
        False,
        description="Write predictions.csv: one row a box",
    )
    save_coco: bool = Field(
        False,
        description="Write predictions_coco.json: COCO's list of results",
    )
    project: str = Field(
        "runs/detect",
        description="Folder that holds the runs",
    )
    name: str = Field(
        "exp",
        description="Name of this run's folder; a number is added if it exists",
    )
    exist_ok: bool = Field(
        False,
        description="Write into the folder even if it exists",
    )
    output: str = Field(
        "",
        description="Write into this folder, instead of one of --project",
        json_schema_extra=_flags("--output", "--save-dir"),
    )
    line_width: Annotated[int, Field(ge=0, le=100)] = Field(
        0,
        description="Width of drawn lines in pixels; 0: fitted to the picture",
        json_schema_extra=_flags("--line-thickness", "--line-width"),
    )
    hide_labels: bool = Field(
        False,
        description="Draw boxes without names",
    )
    hide_conf: bool = Field(
        False,
        description="Draw names without scores",
    )
    font: str = Field(
        "",
        description="Font file (.ttf, .otf, .ttc) for names that the built-in font has no letters for",
    )
    update: bool = Field(
        False,
        description="Of old scripts; nothing is fetched or rewritten, see `vedette import`",
    )
    dnn: bool = Field(
        False,
        description="Of old scripts; the file of the weights says what runs it",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_source(cls, values: Any) -> Any:
        """``--weights a.pt street.jpg`` names two weights and no picture."""
        if isinstance(values, dict) and "source" not in values:
            raise ValueError(
                "--source is missing; name the pictures first or behind --source: a flag of several values takes all "
                "words that follow it"
            )
        return values

    @model_validator(mode="after")
    def _without_contradictions(self) -> DetectConfig:
        usual = {name: field.default for name, field in type(self).model_fields.items()}
        if self.output and (self.project, self.name) != (usual["project"], usual["name"]):
            raise ValueError("--output and --project or --name contradict each other: give one of them")
        alone = [
            name
            for name, value in usual.items()
            if name.startswith("track_") and getattr(self, name) != value
        ]
        if alone and not self.track:
            raise ValueError(f"--{alone[0].replace('_', '-')} says how objects are tracked: add --track")
        if self.half and self.precision not in ("fp16", usual["precision"]):
            raise ValueError(
                f"--half and --precision {self.precision} contradict each other: give one of them"
            )
        return self
