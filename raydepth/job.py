"""The job file: frozen models, one per section, that refuse what they do not know; the first thing that a run reads."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from raydepth import strict_yaml
from raydepth.printable import printable


class JobError(ValueError):
    """The job is wrong: nothing was started. The message names the field, the value that came and what is allowed."""


class Section(BaseModel):
    """Base of all sections: frozen, strict, closed to unknown keys, its numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _fits_the_system(cls, value: Any) -> Any:
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and "\0" in item:
                raise ValueError("text must not hold the character NUL")
            if isinstance(item, int) and abs(item) >= 2**63:
                raise ValueError("whole numbers must fit 64 bits")
        return value


class Input(Section):
    """Which frames: ``input``."""

    paths: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    """Video files, folders (of images or of videos) and glob patterns, local (relative to the current directory) or on s3:// or gs://."""
    stride: Annotated[int, Field(ge=1)] = 1
    """Every n-th frame of the source, counted from its first frame."""
    start_s: Annotated[float, Field(ge=0)] | None = None
    """First presentation time in seconds, inclusive."""
    end_s: Annotated[float, Field(gt=0)] | None = None
    """Last presentation time in seconds, exclusive."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """At most so many frames in the whole job, counted in the order of the paths."""
    size: Annotated[int, Field(ge=32, le=8192)] | None = 512
    """Short side of the working resolution in pixels; null keeps the source's size."""

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> "Input":
        if self.start_s is not None and self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(f"end_s ({self.end_s}) must be larger than start_s ({self.start_s})")
        return self


DepthKind = Literal["disparity_rel", "depth_rel", "depth_m"]


class Depth(Section):
    """How depth is estimated: ``depth``."""

    model: str = "builtin"
    """``builtin``, a hub id, a local directory, an ``.onnx`` file, or ``files:PATTERN`` for depth files beside the input.

    A pattern may use ``{parent}`` (folder of the source), ``{stem}`` (its name without ending), ``{frame_index}`` (with a
    format, ``{frame_index:06d}``), ``{pts}`` and, for image folders, ``{image}`` (the image's name without ending).
    """
    kind: DepthKind | None = None
    """What the model's numbers are; null: as the checkpoint or its class says (``depth_m`` for ONNX and files)."""
    scale: Annotated[float, Field(gt=0)] = 0.001
    """Metres per unit of 16-bit depth files (0.001: millimetres)."""
    input_size: Annotated[int, Field(ge=32, le=8192)] | None = None
    """Short side in pixels that the model sees; null: what its preprocessor file or its fixed input shape says."""
    calibration_frames: Annotated[int, Field(ge=1)] = 16
    """Frames sampled over a clip to fix its normalisation and thresholds, once per clip."""
    truth: str | None = None
    """Pattern of ground-truth depth files in metres (as in ``files:``), or null."""


class AtQuantile(Section):
    """The plane that leaves this fraction of the clip's sampled pixels farther away."""

    quantile: Annotated[float, Field(gt=0, lt=1)]


class AtMetres(Section):
    """The plane at this distance; needs a metric model."""

    metres: Annotated[float, Field(gt=0)]


class AtPoint(Section):
    """The plane just behind the thing at this point of the clip's first frame, in fractions of width and height."""

    point: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2, max_length=2)]


class AtBox(Section):
    """The plane just behind the thing in this box of the clip's first frame: x0, y0, x1, y1 as fractions."""

    box: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=4, max_length=4)]

    @model_validator(mode="after")
    def _box_is_not_empty(self) -> "AtBox":
        x0, y0, x1, y1 = self.box
        if x1 <= x0 or y1 <= y0:
            raise ValueError(f"box must be [x0, y0, x1, y1] with x0 < x1 and y0 < y1, got {self.box}")
        return self


def _plane_form(value: Any) -> str:
    if isinstance(value, dict):
        forms = ("quantile", "metres", "point", "box", "behind", "front")
        return next((key for key in forms if key in value), "quantile")
    if isinstance(value, Section):
        return type(value).__name__[2:].lower()
    return "auto" if isinstance(value, str) else "value"


Plane = Annotated[
    Annotated[Literal["auto"], Tag("auto")]
    | Annotated[float, Tag("value")]
    | Annotated[AtQuantile, Tag("quantile")]
    | Annotated[AtMetres, Tag("metres")]
    | Annotated[AtPoint, Tag("point")]
    | Annotated[AtBox, Tag("box")],
    Discriminator(_plane_form),
]


class Fill(Section):
    """How the hole behind the near layer is filled: ``layers.fill``."""

    method: Literal["telea", "navier-stokes", "onnx", "diffusion", "plate"] = "telea"
    """``plate``: what other frames of the clip show there (camera still or nearly so), ``telea`` where none does."""
    model: str | None = None
    """Path of the ``.onnx`` file (image and mask in, image out) for method ``onnx``; for ``diffusion`` a hub id or a local
    directory, inpainting (9-channel) or text-to-image (4-channel) checkpoint, ``builtin``, or null: that of ``compose``."""
    prompt: str = ""
    """What ``diffusion`` is to paint into the hole."""
    negative_prompt: str = ""
    steps: Annotated[int, Field(ge=1, le=1000)] = 20
    """Steps of ``diffusion``'s full schedule; ``strength`` says what part of them runs."""
    strength: Annotated[float, Field(gt=0, le=1)] | None = None
    """Noise level at which ``diffusion`` starts from the ``telea`` fill; null: 0.3 for ``builtin`` (trained up to 0.7, but
    grainy from 0.5 on), 1 for inpainting checkpoints, 0.75 for text-to-image ones."""
    guidance: Annotated[float, Field(ge=1)] = 1.0
    """Classifier-free guidance scale of ``diffusion``; 1 switches it off and saves its lane."""
    dilate: Annotated[int, Field(ge=0, le=256)] = 8
    """Pixels at working resolution by which the near mask grows to become the hole."""
    radius: Annotated[float, Field(gt=0, le=100)] = 5.0
    """Neighbourhood in pixels that ``telea`` and ``navier-stokes`` look at."""

    @model_validator(mode="after")
    def _method_and_model_fit(self) -> "Fill":
        if self.method == "onnx" and not self.model:
            raise ValueError("method onnx needs layers.fill.model, the path of an .onnx file")
        if self.method == "diffusion" and self.model and self.model.endswith(".onnx"):
            raise ValueError(
                "method diffusion needs a diffusers model; for an .onnx file set layers.fill.method: onnx"
            )
        return self


class Layers(Section):
    """Where a frame is cut: ``layers``."""

    at: Annotated[
        Annotated[Plane, Tag("one")]
        | Annotated[list[Plane], Field(min_length=1, max_length=8), Tag("several")],
        Discriminator(lambda value: "several" if isinstance(value, list | tuple) else "one"),
    ] = "auto"
    """``auto``, a normalised inverse depth 0..1 (larger = nearer), {quantile}, {metres}, {point}, {box}, or a list."""
    feather: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Width of the soft edge in normalised inverse depth (logistic); 0: hard masks."""
    min_area: Annotated[int, Field(ge=0)] = 64
    """Islands and pin-holes of fewer pixels than this are removed."""
    edge_filter: bool = True
    """Median-filter depth at its discontinuities first, so that halos don't stay with the far layer."""
    fill: Fill = Fill()

    @property
    def planes(self) -> list[Any]:
        """The planes asked for, always as a list."""
        return list(self.at) if isinstance(self.at, list) else [self.at]


class Recompose(Section):
    """The frame's near layers over its own filled far layer."""

    kind: Literal["recompose"] = "recompose"


class Remove(Section):
    """The far layer alone, its hole filled: what lies behind."""

    kind: Literal["remove"]


Place = Annotated[list[Annotated[float, Field(ge=-10, le=10)]], Field(min_length=2, max_length=2)]
"""x, y as fractions of width and height, 0, 0 the upper left corner; beyond 0..1 lies outside the frame."""


class AtBehind(Section):
    """Just behind the thing at this point of the clip's first frame, in fractions of width and height."""

    behind: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2, max_length=2)]


class AtFront(Section):
    """Just in front of the thing at this point of the clip's first frame, in fractions of width and height."""

    front: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2, max_length=2)]


InsertPlane = Annotated[
    Annotated[Literal["auto"], Tag("auto")]
    | Annotated[float, Tag("value")]
    | Annotated[AtQuantile, Tag("quantile")]
    | Annotated[AtMetres, Tag("metres")]
    | Annotated[AtPoint, Tag("point")]
    | Annotated[AtBox, Tag("box")]
    | Annotated[AtBehind, Tag("behind")]
    | Annotated[AtFront, Tag("front")],
    Discriminator(_plane_form),
]


class Insert(Section):
    """A picture with alpha, stood into the scene: what is nearer covers it, it covers what is farther."""

    kind: Literal["insert"]
    object: Annotated[str, Field(min_length=1)]
    """A picture file with alpha (RGBA PNG or WebP), local or in object storage."""
    at: InsertPlane | None = None
    """The object's depth: a form of ``layers.at``, {behind: [x, y]} or {front: [x, y]} the thing at a point of the clip's
    first frame; null: the scene's depth in that frame under the object's foot."""
    point: Place | None = None
    """Where the middle of the object's foot stands, as fractions of width and height of the clip's first frame."""
    box: Annotated[list[Annotated[float, Field(ge=-10, le=10)]], Field(min_length=4, max_length=4)] | None = (
        None
    )
    """Instead of ``point``: x0, y0, x1, y1; the object is fitted in and stands on the middle of its lower edge."""
    height: Annotated[float, Field(gt=0, le=10)] | None = None
    """The object's height as a fraction of the frame's; with ``point``, 0.4 where neither height is given."""
    height_m: Annotated[float, Field(gt=0, le=1000)] | None = None
    """The object's height in metres, seen in perspective (f * height_m / Z pixels); needs a metric depth model."""
    fov_deg: Annotated[float, Field(gt=0, lt=180)] = 60.0
    """Angle that the camera sees across the frame's longer side, in degrees; gives f for ``height_m``."""
    anchor: Literal["picture", "scene"] = "scene"
    """``picture``: it stays at its pixels; ``scene``: it moves with the scene as the camera does."""
    shadow: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Strength of a soft contact shadow on the floor; 0: none."""

    @model_validator(mode="after")
    def _placed_and_sized_once(self) -> "Insert":
        if (self.point is None) == (self.box is None):
            raise ValueError("give either point: [x, y] (of the foot) or box: [x0, y0, x1, y1]")
        sizes = [name for name in ("box", "height", "height_m") if getattr(self, name) is not None]
        if len(sizes) > 1:
            raise ValueError(f"{' and '.join(sizes)} both give a size; give one of them")
        if self.box is not None and (self.box[2] <= self.box[0] or self.box[3] <= self.box[1]):
            raise ValueError(f"box must be [x0, y0, x1, y1] with x0 < x1 and y0 < y1, got {self.box}")
        return self


Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


class Background(Section):
    """The frame's near layers over something else."""

    kind: Literal["background"]
    source: Annotated[str, Field(min_length=1)] | None = None
    """A picture, a clip (video or folder of images), or a colour ``#rrggbb``; scaled and cropped to cover the frame."""
    prompt: str | None = None
    """Instead of ``source``: what the compositor is to make up behind the near layers (a model with a text encoder)."""
    play: Literal["in_step", "loop"] = "in_step"
    """A clip is shown at the frame's own time: ``in_step`` holds its last frame after its end, ``loop`` starts again."""
    depth: Literal["behind", "aligned"] = "behind"
    """``behind``: all of the new scene lies behind the near layers. ``aligned``: its depth is estimated and brought to the
    clip's scale (metres with a metric model, else both 2 %..98 % ranges are taken for equal); what is nearer covers."""
    decontaminate: bool = True
    """Takes the old background's colour out of the near layers' rim."""

    @model_validator(mode="after")
    def _has_one_source(self) -> "Background":
        if (self.source is None) == (self.prompt is None):
            raise ValueError("give either source (a picture, a clip or a colour #rrggbb) or prompt")
        return self


class Grade(Section):
    """A change of a layer's light and colour, in linear light."""

    exposure: Annotated[float, Field(ge=-10, le=10)] = 0.0
    """In stops: +1 doubles the light."""
    saturation: Annotated[float, Field(ge=0, le=4)] = 1.0
    """0: grey, 1: as it is."""
    tint: Colour = "#ffffff"
    """The colour of a filter before the layer, ``#rrggbb``; white changes nothing."""


class GradeLayer(Section):
    """Layer entry ``{grade: {...}}``."""

    grade: Grade


class ReplaceLayer(Section):
    """Layer entry ``{replace: FILE}``: a picture in the layer's place, scaled and cropped to cover the frame."""

    replace: Annotated[str, Field(min_length=1)]


def _layer_form(value: Any) -> str:
    if isinstance(value, dict):
        return "replace" if "replace" in value else "grade"
    return type(value).__name__.removesuffix("Layer").lower() if isinstance(value, Section) else "word"


LayerEntry = Annotated[
    Annotated[Literal["keep", "remove"], Tag("word")]
    | Annotated[ReplaceLayer, Tag("replace")]
    | Annotated[GradeLayer, Tag("grade")],
    Discriminator(_layer_form),
]


class Planes(Section):
    """Every layer of the frame on its own: kept, removed, replaced or graded."""

    kind: Literal["planes"]
    layers: Annotated[list[LayerEntry], Field(min_length=2, max_length=9)]
    """One entry for each layer, nearest first: ``keep``, ``remove``, {replace: FILE} or {grade: {exposure, saturation,
    tint}}; one more than ``layers.at`` has planes."""

    @model_validator(mode="after")
    def _something_lies_behind(self) -> "Planes":
        if self.layers[-1] == "remove":
            raise ValueError("the farthest layer cannot be removed, as nothing lies behind it; replace it")
        return self


Edit = Annotated[Recompose | Insert | Background | Remove | Planes, Field(discriminator="kind")]


class Inject(Section):
    """How the layers' keys and values enter the generation: ``compose.inject`` (method.md, section 2)."""

    mode: Literal["mosaic", "concat", "replace"] = "mosaic"
    weight: Annotated[float, Field(ge=0, le=1)] = 1.0
    """w of the mosaic; in concat and replace 0 switches injection off and other values scale the layers' say."""
    blocks: Annotated[list[str], Field(min_length=1)] = ["up"]
    """Names of U-Net parts whose self-attention is injected: ``down``, ``mid``, ``up`` or prefixes such as ``up_blocks.2``."""
    window: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=2, max_length=2)] = [
        0.0,
        1.0,
    ]
    """First and last part of the steps that run, as fractions; [a, a] is empty."""

    @model_validator(mode="after")
    def _window_is_ordered(self) -> "Inject":
        if self.window[1] < self.window[0]:
            raise ValueError(f"window must be [first, last] with first <= last, got {self.window}")
        return self


class Grad(Section):
    """Method ``featglac-grad``: ``compose.grad`` (method.md, section 3). What is null is the recipe's published number.

    Steps are numbered from 0 among those that run, noisiest first. Where ``steps`` or ``strength`` differ from the
    recipe's, its numbers of steps are scaled along. Of ``compose``, its own ``sampler`` (always DDIM, eta 0), ``steps``,
    ``strength``, ``guidance``, ``inject`` and ``blend`` do not count.
    """

    recipe: Literal["composition", "insertion", "lite"] = "composition"
    references: Literal["renoise", "invert", "nulltext"] | None = None
    """Where the layers' noisy latents come from: noise added, DDIM inversion, or inversion with null-text optimisation."""
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Steps of the full schedule: 50, 50, 20 (composition, insertion, lite)."""
    strength: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The last ``strength`` part of the steps runs; the published recipes run all. ``builtin`` was trained up to 0.6."""
    guidance: Annotated[float, Field(ge=1)] | None = None
    """Classifier-free guidance scale: 7.5, 5, 1."""
    window: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)] | None = None
    """First and last guided step, both inclusive: [0, 37], [31, 47], [0, 14]."""
    iterations: Annotated[int, Field(ge=1, le=100)] | None = None
    """Gradient steps in each guided step: 5, 3, 2."""
    step_size: Annotated[float, Field(gt=0)] | None = None
    """eta of a gradient step: 0.1, 0.2, 0.1."""
    checkpointing: bool = False
    """Computes activations again in the backward pass instead of keeping them: less memory, more time, same result."""

    @model_validator(mode="after")
    def _window_is_ordered(self) -> "Grad":
        if self.window and self.window[1] < self.window[0]:
            raise ValueError(f"window must be [first, last] with first <= last, got {self.window}")
        return self


class IPAdapter(Section):
    """A picture prompt that keeps an inserted object's identity: ``compose.ip_adapter``."""

    model: Annotated[str, Field(min_length=1)]
    """Hub id or local directory, for example ``h94/IP-Adapter``."""
    subfolder: str = ""
    """Folder of the weights in it, ``models`` there."""
    weight_name: Annotated[str, Field(pattern=r"\.safetensors$")]
    """File of the weights, ``ip-adapter_sd15.safetensors`` there."""
    image_encoder: str = "image_encoder"
    """Folder of the CLIP image encoder in ``subfolder``, or, with a slash in it, in the model."""
    scale: Annotated[float, Field(ge=0, le=2)] = 0.6
    """Weight of the picture prompt beside the text; 0: none."""


class Compose(Section):
    """How the layers become one picture again: ``compose``."""

    method: Literal["featglac-kv", "featglac-grad", "paste", "poisson"] = "featglac-kv"
    every: Annotated[int, Field(ge=1)] = 1
    """Only every n-th of the frames that ``input`` names is edited at all: a stride on top, to sample with slow methods."""
    model: str = "builtin"
    """``builtin``, a hub id or a local directory of a Stable-Diffusion-class pipeline."""
    lora: str | None = None
    """Hub id or path of LoRA weights, for example ``latent-consistency/lcm-lora-sdv1-5``."""
    prompt: str = ""
    negative_prompt: str = ""
    sampler: Literal["ddim", "dpm++", "lcm"] = "ddim"
    steps: Annotated[int, Field(ge=1, le=1000)] = 10
    """Steps of the full schedule; ``strength`` says what part of them runs."""
    strength: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Noise level that generation starts from: the last ``strength`` part of the steps runs."""
    guidance: Annotated[float, Field(ge=1)] = 1.0
    """Classifier-free guidance scale; 1 switches it off and saves its lane."""
    inject: Inject = Inject()
    grad: Grad = Grad()
    ip_adapter: IPAdapter | None = None
    """Picture prompt for an inserted object, masked to where the object is seen; with method ``featglac-kv``."""
    blend: bool = True
    """After each step, latents outside the edit's region are replaced by the noised original."""
    paste_back: bool = True
    """Finally, pixels outside the edit's region are the source's own, with a feathered edge inside the region."""
    crop: Literal["none", "region"] = "none"
    """``region``: where the edit is small, the model works on a crop around it, enlarged to the working size (cut from the
    source-size frame with ``output.size: source``); all frames of a batch have one window."""

    @model_validator(mode="after")
    def _adapter_has_its_method(self) -> "Compose":
        if self.ip_adapter and self.method != "featglac-kv":
            raise ValueError(f"ip_adapter goes with method featglac-kv, not with {self.method}")
        return self


class Output(Section):
    """Where results go: ``output``."""

    path: Annotated[str, Field(min_length=1)]
    """Folder, local or ``s3://`` / ``gs://``."""
    images: Literal["parquet", "png", "both", "none"] = "parquet"
    """Where pictures are kept: encoded in the shards, as PNG files, both, or nowhere (figures only)."""
    keep: list[Literal["edited", "depth", "near", "background", "rgb"]] = [
        "edited",
        "depth",
        "near",
        "background",
        "rgb",
    ]
    """Which pictures are kept."""
    overwrite: bool = False
    """Delete what an earlier run left in the folder instead of going on with it."""
    shard_frames: Annotated[int, Field(ge=1, le=4096)] = 32
    """Frames in a shard, rounded up to whole batches: what a crash can cost, per worker."""
    size: Literal["work", "source"] = "work"
    """``source``: the edit is carried to the source's own pixels, and all kept pictures have the source's size; figures
    are measured at working size. ``work``: pictures have the working size."""
    layers: bool = False
    """Exports each frame's layers as PNG with 16-bit depth and ``layers.json`` (a layered depth image) to ``layers/``."""
    video: bool = False
    """Writes each edited clip as ``videos/<video>.mp4`` after the run: the source's frame times, its audio copied."""
    crf: Annotated[int, Field(ge=0, le=51)] = 18
    """Quality of that video (H.264 constant rate factor): 0 is lossless, 18 looks so, 51 is the worst."""

    @model_validator(mode="after")
    def _video_needs_pictures(self) -> "Output":
        if self.video and (self.images == "none" or "edited" not in self.keep):
            raise ValueError(
                "output.video is made of the kept pictures: output.images must not be none, output.keep must hold edited"
            )
        return self


class Run(Section):
    """What the job runs on: ``run``."""

    workers: Annotated[int, Field(ge=1)] = 1
    """Actors that hold the models."""
    min_workers: Annotated[int, Field(ge=1)] | None = None
    """Workers that the cluster must hold at the start; the others join when nodes do. null: all of them."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0
    batch: Annotated[int, Field(ge=1, le=256)] = 8
    """Frames that go through the models together."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads of a worker's models; null: the machine's cores, shared among its workers. The last bits of results
    depend on it, so set it where runs on different machines must agree to the bit."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """auto: float16 on a GPU, float32 on a CPU."""
    seed: Annotated[int, Field(ge=0)] = 0
    decode: Literal["stream", "in_actor"] = "stream"
    """``stream``: tasks of their own decode ahead; ``in_actor``: for machines with few CPUs per GPU."""
    max_hours: Annotated[float, Field(gt=0)] | None = None
    """Stop feeding after so long, finish what is in flight, exit 75."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 2
    """Times that a failing frame is tried over all runs before it stays quarantined."""
    decode_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """A decoder that gives nothing for so many seconds is ended and tried again; after ``attempts`` its frames fail."""
    stall_minutes: Annotated[float, Field(gt=0)] = 20.0
    """No sign of life for so long ends the run with an error instead of a silent hang."""
    logical_gpus: Annotated[int, Field(ge=0)] | None = None
    """GPUs that the embedded default pretends to have, to try a GPU job's graph on CPUs; null: the real ones."""
    object_store_gb: Annotated[float, Field(gt=0)] | None = None
    """Size of Ray's object store on the embedded default; null: 1 GB."""

    @property
    def needed_workers(self) -> int:
        """Workers without which the run does not start."""
        return self.workers if self.min_workers is None else self.min_workers

    @model_validator(mode="after")
    def _min_workers_are_workers(self) -> "Run":
        if self.needed_workers > self.workers:
            raise ValueError(f"min_workers ({self.min_workers}) must not exceed workers ({self.workers})")
        return self


class Evaluate(Section):
    """What is measured beside the edit: ``evaluate``."""

    again_every: Annotated[int, Field(ge=0)] = 10
    """Every n-th frame gets its depth estimated again on the result and its codec round trip measured; 0: never."""


class Job(Section):
    """A whole job file."""

    schema_version: Literal[1]
    input: Input
    depth: Depth = Depth()
    layers: Layers = Layers()
    edit: Edit = Recompose()
    compose: Compose = Compose()
    evaluate: Evaluate = Evaluate()
    output: Output
    run: Run = Run()

    @model_validator(mode="after")
    def _edit_fits_the_other_sections(self) -> "Job":
        edit, compose = self.edit, self.compose
        if compose.ip_adapter and not isinstance(edit, Insert):
            raise ValueError(f"compose.ip_adapter goes with edit.kind insert, not with {edit.kind}")
        if isinstance(edit, Planes) and len(edit.layers) != len(self.layers.planes) + 1:
            raise ValueError(
                f"edit.layers has {len(edit.layers)} entries, but layers.at has {len(self.layers.planes)} planes, which "
                f"give {len(self.layers.planes) + 1} layers; give one entry for each, nearest first"
            )
        if isinstance(edit, Background) and edit.prompt is not None:
            able = compose.method == "featglac-kv" and compose.model != "builtin"
            if not able or compose.inject.weight > 0 or not compose.blend or compose.prompt != edit.prompt:
                raise ValueError(
                    "edit.prompt needs a compositor that makes pictures up: compose.method featglac-kv with a model that "
                    "has a text encoder, compose.prompt the same prompt, compose.inject.weight 0 (or the old background "
                    "is made again) and compose.blend true; or give edit.source"
                )
        return self

    def writing_to(self, path: str) -> "Job":
        """The same job with another ``output.path``."""
        return self.model_copy(update={"output": self.output.model_copy(update={"path": path})})


def load_job(path: str | Path, overrides: list[str] | None = None) -> Job:
    """Reads a job file and applies ``--set a.b=value`` overrides (values are YAML).

    Raises:
        JobError: the file is missing or unreadable, is not YAML, or a field is unknown, of the wrong type or impossible;
            the message has one line per field, each with the field's path, the value that came and what is allowed.
    """
    try:
        with open(path, "rb") as file:
            tree = strict_yaml.load(file.read(strict_yaml.MAX_BYTES + 1))
    except OSError as error:
        raise JobError(f"job file {path}: {error.strerror}") from error
    except ValueError as error:
        raise JobError(f"job file {path} is {error}") from error
    if not isinstance(tree, dict):
        raise JobError(
            f"job file {path} must hold sections such as 'input:' and 'output:', got {type(tree).__name__}"
        )
    for override in overrides or []:
        _apply(tree, override)
    return parse_job(tree)


def parse_job(tree: dict[str, Any]) -> Job:
    """Checks a job given as nested dictionaries; raises JobError as load_job does."""
    try:
        return Job.model_validate(tree)
    except ValidationError as error:
        raise JobError("\n".join(_describe(detail) for detail in error.errors())) from error


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise JobError(f"--set {override!r}: expected a.b=value, for example --set run.batch=4")
    *parents, last = key.split(".")
    for depth, parent in enumerate(parents):
        child = tree.setdefault(parent, {})
        if not isinstance(child, dict):
            raise JobError(f"--set {override!r}: {'.'.join(parents[: depth + 1])} is a value, not a section")
        tree = child
    try:
        tree[last] = strict_yaml.load(value)
    except ValueError as error:
        raise JobError(f"--set {override!r}: the value is {error}") from error


_TAGS = {"one", "several", "auto", "value", "word", "recompose", "insert", "background", "remove", "planes"}


def _describe(detail: Any) -> str:
    """One line on one refused field; pydantic's names for a union's branches are left out of the path."""
    location = [printable(str(part))[:80] for part in detail["loc"]]
    following = [*location, ""][1:]  # both are empty where the job as a whole is refused
    path = [
        part for part, then in zip(location, following, strict=True) if part not in _TAGS and part != then
    ]
    field = ".".join(path) or "job"
    value = detail["input"]
    if detail["type"] == "extra_forbidden":
        return f"{field}: unknown key"
    if detail["type"] == "missing":
        return f"{field}: required, but missing"
    shown = repr(value) if len(repr(value)) <= 80 else repr(value)[:77] + "..."
    message = printable(detail["msg"].removeprefix("Value error, ").replace("Input should be", "allowed:"))[
        :400
    ]
    return f"{field}: got {shown}; {message}"
