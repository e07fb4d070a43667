"""The figures of a scored day in people's words: label, unit, decimals, and the table that compares days.

The keys are those of `balancer.score`. Used by the summaries on a terminal and by the reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: its key, what people call it, its unit and how many decimals are worth showing.

    `better` is "less", or "" where neither direction is.
    """

    key: str
    label: str
    unit: str
    decimals: int
    better: str = "less"

    @property
    def heading(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def text(self, value: float) -> str:
        """The value with its decimals, without its unit."""
        return f"{value:.{self.decimals}f}"


FIGURES = (
    Figure("neutral_a_mean", "Neutral current, mean", "A", 1),
    Figure("neutral_a_p95", "Neutral current, 95th percentile", "A", 1),
    Figure("vuf_percent_p95_transformer", "VUF at the transformer, 95th percentile", "%", 2),
    Figure("vuf_percent_p95_worst_house", "VUF at the worst house, 95th percentile", "%", 2),
    Figure("phase_a_max", "Fullest phase, peak", "A", 1),
    Figure("voltage_v_min", "Lowest house voltage", "V", 1, ""),
    Figure("voltage_v_max", "Highest house voltage", "V", 1, ""),
    Figure("loss_kwh", "Losses, lines and transformer copper", "kWh", 2),
    Figure("pv_lost_kwh", "Solar lost to switching", "kWh", 2),
    Figure("energy_kwh", "Losses and lost solar together", "kWh", 2),
    Figure("switches", "Switches", "", 0, ""),
    Figure("max_switches_per_house", "Most switches of one house", "", 0, ""),
    Figure("decision_ms_mean", "Decision time, mean", "ms", 1, ""),
    Figure("decision_ms_p99", "Decision time, 99th percentile", "ms", 1, ""),
)


def change(figure: Figure, before: float, after: float) -> str:
    """`after` against `before` in percent, "" where that says nothing."""
    if not figure.better or abs(before) < 10 ** -figure.decimals:
        return ""
    return f"{100 * (after / before - 1):+.0f} %"


def rows(days: Mapping[str, Mapping[str, float]]) -> list[tuple[str, ...]]:
    """Days side by side, a figure a row below the heading; two days get the change from the first to the second."""
    names = list(days)
    pair = len(names) == 2
    listed: list[tuple[str, ...]] = [("", *names, *(("change",) if pair else ()))]
    for figure in FIGURES:
        values = [days[name][figure.key] for name in names]
        if figure.key.startswith("decision_") and not any(values):
            continue        # nothing was timed
        last = (change(figure, *values),) if pair else ()
        listed.append((figure.heading, *map(figure.text, values), *last))
    return listed


def verdict(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """What it was worth, in one sentence that may say: nothing."""
    neutral, energy = (change(figure, before[figure.key], after[figure.key]) or "-"
                       for figure in FIGURES if figure.key in ("neutral_a_mean", "energy_kwh"))
    words = (f"Mean neutral current {before['neutral_a_mean']:.1f} to {after['neutral_a_mean']:.1f} A ({neutral}), "
             f"losses with lost solar {before['energy_kwh']:.2f} to {after['energy_kwh']:.2f} kWh ({energy}), "
             f"for {after['switches']:.0f} switches.")
    if after["neutral_a_mean"] >= before["neutral_a_mean"]:
        return f"No benefit in this period. {words}"
    if after["energy_kwh"] > before["energy_kwh"]:
        return f"Better balanced, but at a loss of energy. {words}"
    return words
