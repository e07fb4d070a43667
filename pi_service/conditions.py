"""What the alarms watch, from the feeder's state, the ingest's counters and the stores.

Quantities: neutral_a, vuf_percent, phase_a (per phase letter), voltage_deviation_percent (per house), node_age (per
house, in multiples of the time after which a reading is stale), meter_age, neutral_mismatch_a, database,
audit_chain, refused_per_minute, shed_per_minute. The controller adds command_failed, quarantined (per house) and
open_neutral. Not here: thresholds and delays (`data/alarms`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from balancer.feeder import PHASES
from pi_service.alarms import Condition
from pi_service.contract import Measured
from pi_service.feeder_state import FeederState
from pi_service.figures import LIVE_V, Figures
from pi_service.store.audit import AuditLog
from pi_service.store.telemetry import TelemetryStore

MINUTE_S = 60.0


def feeder_conditions(state: FeederState, now: Figures, with_meter: bool = True) -> list[Condition]:
    """Conditions of the feeder and its houses. `with_meter`: the site has one, so that its silence is a fault."""
    plain = state.settings.accept_plain_telemetry
    found = [Condition("neutral_a", _certain(now.neutral_a, plain)),
             Condition("vuf_percent", _certain(now.vuf_percent, plain)),
             Condition("neutral_mismatch_a", now.neutral_mismatch_a)]
    found += [Condition("phase_a", _certain(amps, plain), phase)
              for phase, amps in zip(PHASES, now.current_a, strict=True)]
    if with_meter:
        age = state.trusted_meter_age_s()
        found.append(Condition("meter_age", age / state.settings.stale_after_s, detail=_span(age)))
    nominal = state.feeder.transformer.nominal_voltage
    for house in state.feeder.house_ids:
        age = state.trusted_age_s(house)
        found.append(Condition("node_age", age / state.settings.stale_after_s, house, _span(age)))
        held = state.usable(house)
        volts = held.reading.voltage if held is not None and held.reading.voltage >= LIVE_V else None
        off = None if volts is None else abs(volts - nominal) / nominal * 100
        found.append(Condition("voltage_deviation_percent", off, house, "" if volts is None else f"{volts:.0f} V"))
    return found


def store_conditions(telemetry: TelemetryStore, audit: AuditLog) -> list[Condition]:
    """Conditions of the two databases."""
    found = []
    replaced = [path.name for path in (telemetry.replaced, audit.replaced) if path is not None]
    if telemetry.fault:
        found.append(Condition("database", detail=telemetry.fault))
    elif replaced:
        found.append(Condition("database", detail=f"damaged, kept as {', '.join(replaced)}; a fresh one was started "
                               "with what could be read. Check the SD card."))
    if audit.distrust:
        found.append(Condition("audit_chain", detail=audit.distrust))
    return found


class RateConditions:
    """Refused and shed messages a minute, over the last minute of `Clock.monotonic`."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, dict[str, int]]] = deque()

    def conditions(self, counters: Mapping[str, int], monotonic: float) -> list[Condition]:
        """Call about once a second with the ingest's counters."""
        bad = {name: count for name, count in counters.items() if name == "shed" or name.startswith("refused-")}
        self._seen.append((monotonic, bad))
        while len(self._seen) > 1 and self._seen[1][0] <= monotonic - MINUTE_S:
            self._seen.popleft()
        before = self._seen[0][1]
        grown = {name: count - before.get(name, 0) for name, count in sorted(bad.items())}
        refused = {name.removeprefix("refused-"): count for name, count in grown.items() if name != "shed" and count}
        detail = ", ".join(f"{name} {count}" for name, count in refused.items())
        return [Condition("refused_per_minute", float(sum(refused.values())), detail=detail),
                Condition("shed_per_minute", float(grown.get("shed", 0)))]


def _certain(measured: Measured, plain_counts: bool) -> float | None:
    """Only a value of quality G raises an alarm: a plain message must not, unless the site accepts them."""
    return measured.value if measured.quality == "G" or plain_counts else None


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
