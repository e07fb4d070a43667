"""The report's charts, drawn by matplotlib, which is imported when the first one is drawn.

Each returns a PNG. Axes carry their quantity and unit; phases keep their muted colours and their letter.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from balancer.decision import FloatArray
from pi_service.clock import IST
from pi_service.compare import Comparison, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PHASE_COLOURS = {"R": "#b5594b", "Y": "#b39b2e", "B": "#4a76ab"}
_BEFORE, _AFTER, _LIMIT = "#9aa0a6", "#0b6e78", "#c0392b"
_WIDTH_IN = 7.1


def neutral_chart(comparison: Comparison, limit_a: float) -> bytes:
    """Neutral current of both over time, with the limit."""
    def draw(axes: Axes) -> None:
        times = _times(comparison)
        axes.plot(times, comparison.before_series.neutral_a, color=_BEFORE, lw=0.9, label="without switching")
        axes.plot(times, comparison.after_series.neutral_a, color=_AFTER, lw=1.0, label="as it was")
        axes.axhline(limit_a, color=_LIMIT, lw=0.8, ls="--", label=f"limit {limit_a:g} A")
        axes.set_ylabel("Neutral current (A)")
    return _chart(draw, 2.5, time=True)


def vuf_chart(comparison: Comparison, limit_percent: float) -> bytes:
    """Ten-minute means of the VUF at the transformer, both, with the limit."""
    def draw(axes: Axes) -> None:
        for series, colour, label in ((comparison.before_series, _BEFORE, "without switching"),
                                      (comparison.after_series, _AFTER, "as it was")):
            axes.plot(_times(comparison)[::10], _tens(series.vuf_percent), color=colour, lw=1.0, label=label)
        axes.axhline(limit_percent, color=_LIMIT, lw=0.8, ls="--", label=f"limit {limit_percent:g} %")
        axes.set_ylabel("VUF, 10 min mean (%)")
    return _chart(draw, 2.1, time=True)


def phase_chart(comparison: Comparison, series: Series, limit_a: float) -> bytes:
    """The three phase currents over time."""
    def draw(axes: Axes) -> None:
        for name, values in zip("RYB", series.phase_a, strict=True):
            axes.plot(_times(comparison), values, color=_PHASE_COLOURS[name], lw=0.9, label=name)
        axes.axhline(limit_a, color=_LIMIT, lw=0.8, ls="--", label=f"limit {limit_a:g} A")
        axes.set_ylabel("Phase current (A)")
    return _chart(draw, 2.1, time=True)


def voltage_chart(comparison: Comparison, nominal_v: float, band_percent: float) -> bytes:
    """Lowest and highest house voltage over time, both, with the statutory band."""
    def draw(axes: Axes) -> None:
        times = _times(comparison)
        for series, colour, label in ((comparison.before_series, _BEFORE, "without switching"),
                                      (comparison.after_series, _AFTER, "as it was")):
            axes.fill_between(times, series.voltage_min_v, series.voltage_max_v, color=colour, alpha=0.45, lw=0,
                              label=label)
        for sign in (-1, 1):
            axes.axhline(nominal_v * (1 + sign * band_percent / 100), color=_LIMIT, lw=0.8, ls="--",
                         label=f"band {nominal_v:g} V ±{band_percent:g} %" if sign > 0 else None)
        axes.set_ylabel("House voltages (V)")
    return _chart(draw, 2.1, time=True)


def duration_chart(curves: Mapping[str, Sequence[float]]) -> bytes:
    """Duration curves of the neutral current: for which share of the time it was at least so high."""
    colours = [_BEFORE, "#c98a2b", "#7b5aa6", _AFTER, "#3b8c4f"] if len(curves) > 2 else [_BEFORE, _AFTER]

    def draw(axes: Axes) -> None:
        for (name, values), colour in zip(curves.items(), colours, strict=False):
            ordered = sorted(values, reverse=True)
            axes.plot([100 * (k + 0.5) / len(ordered) for k in range(len(ordered))], ordered, color=colour, lw=1.2,
                      label=name)
        axes.set_xlabel("Share of the time (%)")
        axes.set_ylabel("Neutral current at least (A)")
        axes.set_xlim(0, 100)
    return _chart(draw, 2.4)


def _chart(draw: Any, height_in: float, time: bool = False) -> bytes:
    from matplotlib import dates
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=170)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw(axes)
    axes.grid(alpha=0.25, lw=0.5)
    axes.set_ylim(bottom=None if "voltages" in axes.get_ylabel() else 0)
    axes.tick_params(labelsize=7)
    axes.yaxis.label.set_fontsize(8)
    axes.xaxis.label.set_fontsize(8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if time:
        untyped: Any = dates
        axes.xaxis.set_major_locator(untyped.AutoDateLocator(tz=IST, minticks=4, maxticks=9))
        axes.xaxis.set_major_formatter(untyped.DateFormatter("%d %b\n%H:%M", tz=IST))
        axes.set_xlabel("Time (IST)")
    axes.legend(fontsize=7, frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    figure.tight_layout(pad=0.4)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _times(comparison: Comparison) -> FloatArray:
    """Days since the epoch, as matplotlib counts them."""
    return np.asarray(comparison.minutes, dtype=np.float64) / 86_400


def _tens(values: Sequence[float]) -> list[float]:
    return [sum(values[k:k + 10]) / len(values[k:k + 10]) for k in range(0, len(values), 10)]
