"""The report's figures: distribution, spread, course over time, and seconds per stage.

Every function takes plain numbers and gives PNG bytes. They share one style: dark ink on white, the
colour-blind-safe palette of Okabe and Ito, units on every axis, and a line of text wherever
something was left out.
"""

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from raydepth.evaluate.fold import Statistics
from raydepth.evaluate.measures import MEASURES

INK, QUIET, RED = "#1f2430", "#5b6472", "#d55e00"
COLOURS = {"rmse_truth": "#0072b2", "rmse_outside": "#009e73", "rmse_target_depth": "#8f4f9f"}
STAGE_COLOURS = ("#0072b2", "#56b4e9", "#009e73", "#e69f00", "#8f4f9f", "#cc79a7", "#8c8c8c")
TOP_VIDEOS = 20
"""Videos in a figure of spreads, the worst first."""

STYLE: dict[Any, Any] = {
    "figure.dpi": 160,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.axisbelow": True,
    "axes.edgecolor": "#aab1bc",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": QUIET,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "grid.color": "#e4e7ec",
    "grid.linewidth": 0.8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a file name is a dollar sign
    "xtick.color": QUIET,
    "ytick.color": QUIET,
}


@rc_context(STYLE)
def distribution(name: str, values: np.ndarray, statistics: Statistics, floor: float) -> bytes:
    """Histogram over frames, and below it the share of frames that stay under each value.

    Args:
        name: the metric.
        values: [n] finite values, one a frame, n >= 1.
        statistics: of the same values; its quantiles are the ones that the page names.
        floor: mean of what it can't be expected to go below, drawn as a line; NaN for none.
    """
    figure = Figure(figsize=(7.2, 4.6))
    top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3, 2)})
    colour = COLOURS.get(name, INK)
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-9 * max(abs(high), 1e-9):  # all the same: one bar in the middle
        low, high = low - max(abs(high) / 2, 0.5), high + max(abs(high) / 2, 0.5)
    bins = (
        min(max(int(2 * math.sqrt(values.size)), 9), 41) | 1
    )  # odd: a value in the middle has a bar around it
    top.hist(
        values,
        bins=np.linspace(low, high, bins + 1),
        color=colour,
        alpha=0.85,
        edgecolor="white",
        linewidth=0.6,
    )
    ordered = np.sort(values)
    shares = np.arange(ordered.size + 1) / ordered.size
    bottom.step(np.r_[ordered[0], ordered], shares, where="post", color=colour, lw=2)
    bottom.scatter(ordered[-1:], [1.0], s=18, color=colour, zorder=3)
    p50, p95 = statistics.quantile(0.5), statistics.quantile(0.95)
    marks = [
        (f"median {p50:.3g}", p50, INK, "-"),
        (f"95 % of frames below {p95:.3g}", p95, QUIET, "--"),
    ]
    marks = marks if values.size > 1 else []
    if math.isfinite(floor):
        marks.append((f"floor {floor:.3g}", floor, RED, ":"))
    for label, value, line, style in marks:
        top.axvline(value, color=line, lw=1.5, ls=style, label=label)
        bottom.axvline(value, color=line, lw=1.5, ls=style)
    top.set_ylabel("frames")
    top.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    top.tick_params(labelbottom=False)
    bottom.set(ylabel="share of frames\nat most this", ylim=(0, 1.06), xlabel=_with_unit(name))
    if marks:
        figure.legend(loc="outside upper left", ncols=3)
    figure.align_ylabels()
    return _png(figure)


@rc_context(STYLE)
def spread(name: str, videos: Mapping[str, Statistics]) -> bytes:
    """Per video the median, the middle half and the middle 90 % of frames, worst median first.

    Keys are labels.
    """
    ordered = sorted(videos.items(), key=lambda item: -item[1].quantile(0.5))
    shown = ordered[:TOP_VIDEOS]
    figure = Figure(figsize=(7.2, 1.2 + 0.32 * len(shown)))
    axes = figure.subplots()
    colour = COLOURS.get(name, INK)
    for place, (_, statistics) in enumerate(shown):
        q5, q25, q50, q75, q95 = (statistics.quantile(q) for q in (0.05, 0.25, 0.5, 0.75, 0.95))
        axes.plot([q5, q95], [place, place], color=colour, lw=1.6, alpha=0.7, solid_capstyle="butt")
        axes.plot([q25, q75], [place, place], color=colour, lw=8, alpha=0.4, solid_capstyle="butt")
        axes.scatter([q50], [place], s=40, color=colour, edgecolor="white", linewidth=0.9, zorder=3)
    axes.set_yticks(range(len(shown)), [_short(label) for label, _ in shown])
    axes.set(ylim=(len(shown) - 0.4, -0.6), xlabel=_with_unit(name))
    axes.grid(visible=False, axis="y")
    left_out = len(ordered) - len(shown)
    note = (
        f"\nthe {len(shown)} largest medians; {left_out} more videos left out" if left_out else ""
    )
    figure.suptitle(
        f"dot: median   bar: middle half   line: middle 90 % of frames{note}",
        fontsize=9.5,
        color=QUIET,
        x=0.01,
        ha="left",
    )
    return _png(figure)


@rc_context(STYLE)
def curves(
    time_s: np.ndarray, columns: Mapping[str, np.ndarray], failed_s: np.ndarray, floors: np.ndarray
) -> bytes:
    """One video's RMSEs over time, a panel each; failed frames are crosses on the time axis.

    Args:
        time_s: [n] seconds, ascending, of the frames that are done.
        columns: metric name -> float64 [n], NaN where not measured, with at least one value each.
        failed_s: [m] seconds of the failed frames.
        floors: [n] round trip under ``rmse_outside``, NaN where not measured.
    """
    figure = Figure(figsize=(8.4, 0.9 + 1.6 * len(columns)))
    panels = np.atleast_1d(figure.subplots(len(columns), 1, sharex=True))
    for axes, (name, values) in zip(panels, columns.items(), strict=True):
        _curve(axes, time_s, values, COLOURS.get(name, INK), "")
        if name == "rmse_outside" and np.isfinite(floors).any():
            _curve(axes, time_s, floors, RED, "codec floor")
            axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), borderaxespad=0.0)
        unit = MEASURES[name].unit.replace("normalised inverse depth", "norm. inverse depth")
        axes.set_ylabel(f"{name}\n({unit})", fontsize=9)
        top = axes.get_ylim()[1] if axes.dataLim.ymax > 0 else 1.0
        axes.set_ylim(-0.04 * top, top)  # room for the marks of values at 0
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        if failed_s.size:
            ground, place = np.zeros(failed_s.size), axes.get_xaxis_transform()
            axes.plot(failed_s, ground, "x", color=RED, ms=7, mew=2, clip_on=False, transform=place)
    if failed_s.size:
        panels[0].set_title(f"crosses: {failed_s.size} failed frame{'s' * (failed_s.size != 1)}")
    panels[-1].set_xlabel("time in the video (s)")
    figure.align_ylabels()
    return _png(figure)


def _curve(axes: Axes, time_s: np.ndarray, values: np.ndarray, colour: str, label: str) -> None:
    measured = np.isfinite(values)
    marker = "o" if np.count_nonzero(measured) <= 60 else ""
    axes.plot(
        time_s[measured], values[measured], color=colour, lw=1.5, marker=marker, ms=3.5, label=label
    )


@rc_context(STYLE)
def seconds_per_stage(stages: Mapping[str, Statistics]) -> bytes:
    """Where a frame's time goes: stages' means stacked, then mean, p50, p95 and share of each."""
    whole = sum(statistics.mean for statistics in stages.values()) or 1.0
    widest = (
        max(max(statistics.mean, statistics.quantile(0.95)) for statistics in stages.values())
        or 1.0
    )
    figure = Figure(figsize=(12.0, 2.0 + 0.34 * len(stages)))
    top, rows = figure.subplots(2, 1, gridspec_kw={"height_ratios": (1.6, 0.6 + 0.9 * len(stages))})
    start = 0.0
    for place, (stage, statistics) in enumerate(stages.items()):
        colour, mean = STAGE_COLOURS[place % len(STAGE_COLOURS)], statistics.mean
        p50, p95 = statistics.quantile(0.5), statistics.quantile(0.95)
        top.barh([0], [mean], left=[start], color=colour, edgecolor="white", linewidth=1.2)
        if mean / whole > 0.09:
            ink = INK if place % len(STAGE_COLOURS) in (1, 3, 5) else "white"
            top.text(
                start + mean / 2,
                0,
                f"{stage}\n{mean / whole:.0%}",
                ha="center",
                va="center",
                fontsize=9,
                color=ink,
            )
        start += mean
        rows.barh([place], [mean], height=0.62, color=colour)
        first = "" if place else "p50"
        rows.scatter(
            [p50], [place], marker="|", s=190, color=INK, linewidths=2, zorder=3, label=first
        )
        rows.scatter(
            [p95], [place], marker="D", s=22, color=INK, zorder=3, label=first.replace("50", "95")
        )
        share = f"{mean:.3g} s   {mean / whole:.1%}"
        rows.text(
            max(mean, p95) + widest * 0.02, place, share, va="center", fontsize=9, color=QUIET
        )
    top.set(xlim=(0, whole), yticks=[], xticks=[])
    top.set_title(f"{whole:.3g} s a frame: mean over frames, stages one after the other")
    top.spines[["left", "bottom"]].set_visible(False)
    rows.set_yticks(range(len(stages)), list(stages))
    rows.set(
        ylim=(len(stages) - 0.45, -0.55),
        xlim=(0, widest * 1.22),
        xlabel="seconds a frame (bar: mean)",
    )
    rows.grid(visible=False, axis="y")
    rows.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.0)
    return _png(figure)


def _with_unit(name: str) -> str:
    unit = MEASURES[name].unit
    return f"{name} ({unit})" if unit else name


def _short(label: str) -> str:
    return label if len(label) <= 28 else f"{label[:13]}…{label[-14:]}"


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
