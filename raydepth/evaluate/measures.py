"""The catalogue of metric columns: a name, unit, direction and sentence each.

The metric stage, the fold and the report share it.
"""

from dataclasses import dataclass
from typing import Literal

GREY = "grey levels"


@dataclass(frozen=True)
class Measure:
    """One metric column of a shard (float64, one value a frame, null where not measured)."""

    name: str
    label: str
    unit: str
    better: Literal["lower", "higher", "neither"]
    meaning: str


CHECKS = (
    Measure(
        "region_share",
        "Edited part of the frame",
        "",
        "neither",
        "Share of the frame in which the edit may change pixels; 0: the frame is as it was.",
    ),
    Measure(
        "near_share", "Near layer's part of the frame", "", "neither", "Mean alpha of what is near."
    ),
    Measure(
        "hole_share",
        "Filled part of the frame",
        "",
        "lower",
        "Share of the frame where the edit shows what was filled behind the near layers.",
    ),
    Measure(
        "object_inside",
        "Part of the object inside the frame",
        "",
        "higher",
        "Share of the inserted object's alpha that lies in the frame.",
    ),
    Measure(
        "object_seen",
        "Part of the object that is seen",
        "",
        "higher",
        "Share of the inserted object's alpha inside the frame that nothing nearer covers; 0 where "
        "the object is outside.",
    ),
    Measure(
        "things_lost",
        "Things whose track is lost",
        "",
        "lower",
        "How many of the edit's things were tracked up to here and lost.",
    ),
    Measure(
        "things_absent",
        "Things that are absent",
        "",
        "lower",
        "How many of the edit's things nobody said or found in this shot.",
    ),
    Measure(
        "things_hidden",
        "Things that are hidden",
        "",
        "neither",
        "How many of the edit's things are tracked and not in this frame.",
    ),
    Measure(
        "track_iou",
        "Agreement of the track",
        "",
        "higher",
        "IoU of a thing's new mask with the one that was carried to this frame, the worst of the "
        "edit's things; null in frames whose masks were only carried.",
    ),
    Measure(
        "depth_waver",
        "Waver of depth",
        "normalised inverse depth",
        "lower",
        "Median difference of inverse depth at the same points of this frame and of the one before "
        "it, which optical flow finds; null for the first frame of a batch.",
    ),
    Measure(
        "edit_flicker",
        "Flicker of the edit against the input's",
        "",
        "lower",
        "Flow-warped error of the edited region over the input's where its picture is equally "
        "steep, on small copies, half a grey level added to both; null for the first frame of a "
        "batch.",
    ),
)
"""What tells whether a frame shows what was asked; ``verdict`` draws its rules from them."""

MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(
            "rmse_truth",
            "RMSE of depth against ground truth",
            "m",
            "lower",
            "Estimated depth against ground truth, aligned as the kind of estimator demands, "
            "over pixels with a reading.",
        ),
        Measure(
            "abs_rel_truth", "AbsRel of depth", "", "lower", "Mean of |estimate - truth| / truth."
        ),
        Measure(
            "delta1_truth",
            "delta1 of depth",
            "",
            "higher",
            "Share of pixels within a factor 1.25 of the truth.",
        ),
        Measure(
            "delta2_truth",
            "delta2 of depth",
            "",
            "higher",
            "Share of pixels within a factor 1.25^2 of the truth.",
        ),
        Measure(
            "delta3_truth",
            "delta3 of depth",
            "",
            "higher",
            "Share of pixels within a factor 1.25^3 of the truth.",
        ),
        Measure(
            "silog_truth",
            "SILog of depth",
            "",
            "lower",
            "100 sqrt(mean d^2 - (mean d)^2), d = ln estimate - ln truth.",
        ),
        Measure(
            "order_truth",
            "Depth order",
            "",
            "higher",
            "Share of sampled point pairs whose nearer point is also nearer in the estimate; "
            "needs no alignment.",
        ),
        Measure(
            "align_scale",
            "Alignment scale",
            "",
            "neither",
            "Scale fitted to the truth; how much it varies over a clip measures stability.",
        ),
        Measure("align_shift", "Alignment shift", "", "neither", "Shift fitted to the truth."),
        Measure(
            "rmse_outside",
            "RMSE where nothing should change",
            GREY,
            "lower",
            "The edited frame against the input, over pixels that the edit must leave alone.",
        ),
        Measure(
            "psnr_outside",
            "PSNR where nothing should change",
            "dB",
            "higher",
            "The same as peak signal-to-noise ratio; null where every such pixel is untouched, "
            "as it is infinite there. The mean leaves such frames out, and so may fall as frames "
            "get better: rank by the RMSE.",
        ),
        Measure(
            "rmse_all",
            "RMSE of the whole frame",
            GREY,
            "lower",
            "The edited frame against the input, over all pixels. The edit itself counts as an "
            "error, so an edit that does nothing ranks best: compare methods on one edit only.",
        ),
        Measure(
            "psnr_all",
            "PSNR of the whole frame",
            "dB",
            "higher",
            "The same as peak signal-to-noise ratio. An edit that does nothing ranks best.",
        ),
        Measure(
            "ssim_all",
            "SSIM of the whole frame",
            "",
            "higher",
            "Structural similarity of edited frame and input. An edit that does nothing ranks "
            "best.",
        ),
        Measure(
            "rmse_true_edit",
            "RMSE against the true edit",
            GREY,
            "lower",
            "The edited frame against the picture of evaluate.truth, over all pixels.",
        ),
        Measure(
            "rmse_true_edit_inside",
            "RMSE against the true edit, inside",
            GREY,
            "lower",
            "The same over the pixels that the edit may change. A larger region, with more pixels "
            "that are easy, ranks better: compare jobs whose regions differ over all pixels.",
        ),
        Measure(
            "ssim_true_edit",
            "SSIM against the true edit",
            "",
            "higher",
            "Structural similarity of edited frame and evaluate.truth.",
        ),
        Measure(
            "ssim_true_edit_inside",
            "SSIM against the true edit, inside",
            "",
            "higher",
            "The same, averaged over the pixels that the edit may change. A larger region, with "
            "more pixels that are easy, ranks better.",
        ),
        Measure(
            "rmse_target_depth",
            "Target-depth RMSE",
            "normalised inverse depth",
            "lower",
            "Depth estimated again on the edited frame, and refined as the input's was, against "
            "the target depth, which is that of the edit's layers. An edit that moves little is "
            "near the floor whether it worked or not: compare methods on one edit only.",
        ),
        Measure(
            "rmse_target_depth_floor",
            "Floor of the target-depth RMSE",
            "normalised inverse depth",
            "lower",
            "The same for the frame without any edit, sent through the codec where the method has "
            "one: what estimating again gives by itself.",
        ),
        Measure(
            "rmse_round_trip",
            "RMSE of the codec's round trip",
            GREY,
            "lower",
            "The input encoded and decoded without any edit, against itself, over all pixels.",
        ),
        Measure(
            "psnr_round_trip",
            "PSNR of the codec's round trip",
            "dB",
            "higher",
            "The same as peak signal-to-noise ratio.",
        ),
        Measure(
            "rmse_round_trip_outside",
            "RMSE of the round trip where nothing should change",
            GREY,
            "lower",
            "The codec's round trip over the pixels of rmse_outside: what the method can't go "
            "below without paste-back.",
        ),
        *CHECKS,
    )
}

FLOORS = {"rmse_outside": "rmse_round_trip_outside", "rmse_target_depth": "rmse_target_depth_floor"}
"""Error -> what it can't be expected to go below."""

THREE_RMSES = ("rmse_truth", "rmse_outside", "rmse_target_depth")
"""The three errors that a report always names: depth, preservation, obedience.

See raydepth/README.md, "Metrics"."""

PSNRS: dict[str, str] = {
    "psnr_outside": "rmse_outside",
    "psnr_all": "rmse_all",
    "psnr_round_trip": "rmse_round_trip",
}
"""A PSNR -> the RMSE that it is made of.

Where that is 0, the PSNR is infinite, and null in shards: a cap in its place would be a number that
means follow, and the 0 beside it says the same."""

DEPRECATED: dict[str, str] = {"rmse_asked": "rmse_target_depth"}
"""Old name of a metric -> its name.

Shards and ``report.json`` hold the values under both names until the next version, and shards that
have the old name alone can be read."""
