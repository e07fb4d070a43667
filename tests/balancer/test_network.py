"""The power flow against OpenDSS with four wires, and against what physics says of simple cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from balancer.feeder import PHASES, Feeder, Line
from balancer.feeder_folder import read_feeder, read_profiles
from balancer.network import FlowError, Network
from balancer.paths import Paths
from balancer.unbalance import vuf_percent

Instant = tuple[Feeder, np.ndarray, np.ndarray, np.ndarray]
dss = pytest.importorskip("opendssdirect", reason="opendssdirect.py is installed by `make test`")


def _solve_in_opendss(feeder: Feeder, phase: np.ndarray, p_kw: np.ndarray, q_kvar: np.ndarray) -> dict[str, float]:
    """The same feeder with an explicit neutral conductor, earthed at the transformer only."""
    unit, say = feeder.transformer, dss.Text.Command
    source_ohm = 11_000 / np.sqrt(3) / unit.source_short_circuit_a
    reactance = np.sqrt(unit.impedance_percent**2 - unit.resistance_percent**2)
    say("clear")
    say(f"new circuit.referee basekv=11 pu=1 bus1=HV r1=1e-6 x1={source_ohm} r0=1e-6 x0={source_ohm}")
    say(f"new transformer.t windings=2 phases=3 buses=(HV, B{unit.bus}.1.2.3.0) conns=(delta wye) "
        f"kvs=(11 {unit.nominal_voltage * np.sqrt(3) / 1000}) kvas=({unit.kva} {unit.kva}) xhl={reactance} "
        f"%rs=({unit.resistance_percent / 2} {unit.resistance_percent / 2}) ppm_antifloat=0")
    say(f"new reactor.earth phases=1 bus1=B{unit.bus}.4 bus2=B{unit.bus}.0 r=1e-6 x=0")
    for k, line in enumerate(feeder.lines):
        km = line.length_m / 1000
        r1, x1 = line.r1_ohm_per_km * km, line.x1_ohm_per_km * km
        rn, xn = (line.r0_ohm_per_km * km - r1) / 3, (line.x0_ohm_per_km * km - x1) / 3
        if rn == xn == 0:
            rn = 1e-9       # some sections give Z0 = Z1, and OpenDSS cannot invert no impedance
        say(f"new line.l{k} phases=4 bus1=B{line.from_bus}.1.2.3.4 bus2=B{line.to_bus}.1.2.3.4 length=1 "
            f"rmatrix=({r1} | 0 {r1} | 0 0 {r1} | 0 0 0 {rn}) xmatrix=({x1} | 0 {x1} | 0 0 {x1} | 0 0 0 {xn}) "
            "cmatrix=(0 | 0 0 | 0 0 0 | 0 0 0 0)")
    for k, house in enumerate(feeder.houses):
        if phase[k] >= 0:
            say(f"new load.h{k} phases=1 bus1=B{house.bus}.{phase[k] + 1}.4 kv={unit.nominal_voltage / 1000} "
                f"kw={p_kw[k]} kvar={q_kvar[k]} model=1 vminpu=0.1 vmaxpu=3")
    say("set tolerance=1e-10 maxiterations=500 voltagebases=[11 0.4157]")
    say("solve")
    assert dss.Solution.Converged()
    dss.Circuit.SetActiveElement("transformer.t")
    flow = np.array(dss.CktElement.Currents()).reshape(-1, 2) @ [1, 1j]
    volts = _phase_to_neutral(unit.bus)
    turn = volts[0] / abs(volts[0])
    return {"neutral_a": abs(flow[4:7].sum()), "phase_a": np.sort(np.abs(flow[4:7])),
            "vuf_percent": float(vuf_percent(volts)), "line_loss_kw": dss.Circuit.LineLosses()[0],
            "transformer_loss_kw": dss.CktElement.Losses()[0] / 1000,
            "house_volts": np.array([_phase_to_neutral(house.bus) / turn for house in feeder.houses])}


def _phase_to_neutral(bus: str) -> np.ndarray:
    dss.Circuit.SetActiveBus(f"B{bus}")
    volts = dict(zip(dss.Bus.Nodes(), np.array(dss.Bus.Voltages()).reshape(-1, 2) @ [1, 1j], strict=True))
    return np.array([volts[1], volts[2], volts[3]]) - volts.get(4, 0)


def _compare(feeder: Feeder, phase: np.ndarray, p_kw: np.ndarray, q_kvar: np.ndarray) -> None:
    ours = Network(feeder).solve(phase, p_kw, q_kvar)
    referee = _solve_in_opendss(feeder, phase, p_kw, q_kvar)
    assert float(ours.neutral_current_a) == pytest.approx(referee["neutral_a"], abs=0.005)
    assert float(ours.vuf_transformer_percent) == pytest.approx(referee["vuf_percent"], abs=0.005)
    assert np.sort(np.abs(ours.phase_current)) == pytest.approx(referee["phase_a"], abs=0.005)
    assert float(ours.line_loss_kw) == pytest.approx(referee["line_loss_kw"], rel=0.002, abs=1e-4)
    assert float(ours.transformer_loss_kw) == pytest.approx(referee["transformer_loss_kw"], rel=0.002, abs=1e-4)
    turn = ours.transformer_voltage[0] / abs(ours.transformer_voltage[0])
    assert np.abs(ours.house_voltages / turn - referee["house_volts"]).max() < 0.01
    assert ours.vuf_house_percent == pytest.approx(vuf_percent(referee["house_volts"].T), abs=0.005)


@pytest.mark.parametrize("minute", [200, 450, 760, 1100, 1200])
def test_flow_agrees_with_opendss_on_a_small_street(small_feeder_dir, minute):
    feeder = read_feeder(small_feeder_dir)
    profiles = read_profiles(small_feeder_dir, feeder)
    load, pv = profiles.load_kw[:, minute], profiles.pv_kw[:, minute]
    phase = (np.arange(9) * (1 + minute % 2)) % 3
    _compare(feeder, phase, load - pv, load * 0.33)


@pytest.mark.parametrize("minute", [30, 480, 745, 1170])
@pytest.mark.parametrize("phases", ["published", "random"])
def test_flow_agrees_with_opendss_on_the_european_lv_network(measured_feeder_dir, small_feeder_dir, minute, phases):
    _compare(*_instant(measured_feeder_dir, small_feeder_dir, minute, phases))


@pytest.mark.parametrize("minute", [30, 1170])
def test_flow_agrees_with_opendss_on_a_synthetic_feeder_of_that_size(small_feeder_dir, minute):
    _compare(*_instant(None, small_feeder_dir, minute, "published"))


def _instant(measured: Path | None, pattern: Path, minute: int, phases: str) -> Instant:
    """A minute of the measured case, else of 55 houses on a tree; mixed power factors, random phases partly open."""
    rng = np.random.default_rng(minute)
    if measured:
        feeder = read_feeder(measured)
        profiles = read_profiles(measured, feeder)
        load, pv = profiles.load_kw[:, minute], profiles.pv_kw[:, minute]
    else:
        feeder = _branched(read_feeder(pattern), 55, per_bus=1)
        load = rng.exponential(0.8, 55)
        pv = np.where(rng.random(55) < 0.5, max(3 * np.sin(np.pi * (minute / 60 - 6) / 12), 0), 0)
    published = np.array([house.phase for house in feeder.houses])
    phase = published if phases == "published" else rng.integers(-1, 3, len(load))
    return feeder, phase, load - pv, load * np.linspace(0.1, 0.8, len(load))


def test_flow_agrees_with_opendss_where_the_running_sums_take_over(small_feeder_dir):
    feeder = _branched(read_feeder(small_feeder_dir), 150, per_bus=1)
    assert len(feeder.houses) > 128
    rng = np.random.default_rng(3)
    _compare(feeder, rng.integers(-1, 3, 150), rng.normal(0.2, 0.8, 150), rng.normal(0.1, 0.2, 150))


def _branched(feeder: Feeder, houses: int, per_bus: int) -> Feeder:
    """A tree of three-way forks, each pole 10 m from the one before, with `per_bus` houses on every pole."""
    poles, root = -(-houses // per_bus), feeder.transformer.bus
    above = [root, *(f"P{(k - 1) // 3}" for k in range(1, poles))]
    lines = tuple(Line(above[k], f"P{k}", 10.0, 0.2, 0.08, 0.8, 0.3) for k in range(poles))
    homes = tuple(replace(feeder.houses[0], house_id=f"H{i}", bus=f"P{i // per_bus}", phase=(0, 0, 1, 0, 2)[i % 5])
                  for i in range(houses))
    return replace(feeder, houses=homes, lines=lines, transformer=replace(feeder.transformer, kva=500.0))


@pytest.mark.parametrize("per_bus", [1, 3])
def test_running_sums_drop_the_same_volts_as_the_matrices(small_feeder_dir, per_bus):
    feeder = _branched(read_feeder(small_feeder_dir), 90, per_bus)
    by_matrix, by_sums = Paths(feeder, matrix_up_to=1000), Paths(feeder, matrix_up_to=0)
    assert by_matrix.buses == by_sums.buses
    rng = np.random.default_rng(2)
    shape = (len(by_sums.buses), 3, 4)
    current = rng.normal(0, 20, shape) + 1j * rng.normal(0, 20, shape)
    assert np.abs(by_matrix.drop(current) - by_sums.drop(current)).max() < 1e-9


def test_a_thousand_houses_keep_the_balance_of_power_over_several_blocks(small_feeder_dir):
    feeder = _branched(read_feeder(small_feeder_dir), 1000, per_bus=2)
    network, rng = Network(feeder), np.random.default_rng(4)
    phase = rng.integers(-1, 3, (1000, 200))
    p, q = rng.normal(0.1, 0.3, (1000, 200)), rng.normal(0.05, 0.1, (1000, 200))
    flow = network.solve_batch(phase, p, q)
    sent = (network.no_load_voltage[:, None] * np.conj(flow.phase_current)).real.sum(axis=0) / 1000
    taken = np.where(phase >= 0, p, 0).sum(axis=0)
    assert sent == pytest.approx(taken + flow.line_loss_kw + flow.transformer_loss_kw, abs=1e-4)
    last = network.solve(phase[:, 199], p[:, 199], q[:, 199])
    assert flow.house_voltages[..., 199] == pytest.approx(last.house_voltages, abs=1e-4)


def test_a_batch_gives_what_single_instants_give(small_feeder_dir):
    feeder = read_feeder(small_feeder_dir)
    profiles, network = read_profiles(small_feeder_dir, feeder), Network(feeder)
    phase = np.random.default_rng(1).integers(-1, 3, profiles.load_kw.shape)
    net, reactive = profiles.load_kw - profiles.pv_kw, profiles.load_kw * 0.4
    batch = network.solve_batch(phase, net, reactive)
    for minute in (0, 700, 1199):
        one = network.solve(phase[:, minute], net[:, minute], reactive[:, minute])
        assert batch.house_voltage[:, minute] == pytest.approx(one.house_voltage, abs=1e-4)
        assert batch.neutral_current_a[minute] == pytest.approx(float(one.neutral_current_a), abs=1e-4)


def test_power_is_conserved_from_the_source_to_the_houses(small_feeder_dir):
    feeder = read_feeder(small_feeder_dir)
    network = Network(feeder)
    p, q, phase = np.linspace(-2, 4, 9), np.linspace(0, 1, 9), np.arange(9) % 3
    flow = network.solve(phase, p, q)
    sent = float((network.no_load_voltage * np.conj(flow.phase_current)).real.sum() / 1000)
    assert sent == pytest.approx(p.sum() + float(flow.line_loss_kw) + float(flow.transformer_loss_kw), abs=1e-4)


def test_an_open_house_has_no_voltage_and_draws_no_current(small_feeder_dir):
    feeder = read_feeder(small_feeder_dir)
    flow = Network(feeder).solve(np.full(9, -1), np.full(9, 3.0), np.zeros(9))
    assert np.abs(flow.house_voltage).max() == 0
    assert np.abs(flow.phase_current).max() == 0
    assert np.abs(flow.house_voltages[0]) == pytest.approx([240, 240, 240])


def test_solar_lifts_the_voltage_of_its_own_phase_and_load_lowers_it(small_feeder_dir):
    feeder = read_feeder(small_feeder_dir)
    solve = Network(feeder).solve
    alone = np.zeros(9)
    alone[4] = 3.0
    phase = np.zeros(9, dtype=int)
    lifted = abs(solve(phase, -alone, 0 * alone).house_voltage[4])
    lowered = abs(solve(phase, alone, 0 * alone).house_voltage[4])
    assert lifted > 240 > lowered
    assert PHASES[int(np.abs(solve(phase, alone, 0 * alone).phase_current).argmax())] == "R"


def test_houses_on_one_pole_see_the_same_three_voltages(small_feeder_dir):
    feeder = read_feeder(small_feeder_dir)
    flow = Network(feeder).solve(np.arange(9) % 3, np.linspace(1, 3, 9), np.zeros(9))
    assert feeder.houses[0].bus == feeder.houses[1].bus
    assert (flow.house_voltages[0] == flow.house_voltages[1]).all()
    assert abs(flow.house_voltage[1]) == pytest.approx(abs(flow.house_voltages[0, 1]))


def test_the_drop_along_one_line_is_the_hand_worked_one(small_feeder_dir):
    """One house, 10 A at unity: the loop of phase and neutral is Z1 + Zn = (2 Z1 + Z0) / 3."""
    feeder = read_feeder(small_feeder_dir)
    flow = Network(feeder).solve(np.zeros(9, dtype=int), np.array([2.4] + [0.0] * 8), np.zeros(9))
    amps = abs(flow.phase_current[0])
    loop = (2 * complex(0.443, 0.083) + complex(1.68, 0.33)) / 3 * 0.035
    lost = flow.transformer_voltage[0] - flow.house_voltage[0]
    assert lost == pytest.approx(loop * flow.phase_current[0], abs=1e-9)
    assert float(flow.neutral_current_a) == pytest.approx(amps)
    assert float(flow.line_loss_kw) == pytest.approx(amps**2 * loop.real / 1000)
    winding_ohm = 0.0176 * 3 * 240**2 / 100_000
    assert float(flow.transformer_loss_kw) == pytest.approx(amps**2 * winding_ohm / 1000)


def test_a_line_may_be_written_from_either_end(small_feeder_dir):
    feeder = read_feeder(small_feeder_dir)
    turned = replace(feeder, lines=tuple(replace(x, from_bus=x.to_bus, to_bus=x.from_bus) for x in feeder.lines))
    asked = np.arange(9) % 3, np.linspace(1, 3, 9), np.zeros(9)
    assert (Network(turned).solve(*asked).house_voltage == Network(feeder).solve(*asked).house_voltage).all()


def test_a_feeder_with_a_loop_or_a_house_without_a_line_is_refused(small_feeder_dir):
    feeder = read_feeder(small_feeder_dir)
    loop = replace(feeder.lines[0], from_bus="P05", to_bus="P01")
    with pytest.raises(FlowError, match="loop"):
        Network(replace(feeder, lines=(*feeder.lines, loop)))
    with pytest.raises(FlowError, match="H009"):
        Network(replace(feeder, lines=feeder.lines[:-1]))


@pytest.mark.parametrize(("what", "house", "value"), [("phase", 2, 3), ("phase", 2, -2), ("p_kw", 4, np.nan),
                                                      ("q_kvar", 4, np.inf)])
def test_a_value_that_cannot_be_is_named_by_house_and_instant(small_feeder_dir, what, house, value):
    asked = {"phase": np.zeros((9, 5)), "p_kw": np.ones((9, 5)), "q_kvar": np.zeros((9, 5))}
    asked[what][house, 3] = value
    with pytest.raises(FlowError, match=f"house H00{house + 1}, instant 3"):
        Network(read_feeder(small_feeder_dir)).solve_batch(**asked)


def test_arrays_of_another_number_of_houses_are_refused(small_feeder_dir):
    network = Network(read_feeder(small_feeder_dir))
    with pytest.raises(FlowError, match="each of the 9 houses"):
        network.solve(np.zeros(8, dtype=int), np.ones(8), np.zeros(8))
    with pytest.raises(FlowError, match="as many columns"):
        network.solve_batch(np.zeros((9, 2), dtype=int), np.ones((9, 2)), np.zeros((9, 3)))


def test_the_power_of_an_open_house_is_not_looked_at(small_feeder_dir):
    phase, p = np.arange(9) % 3, np.linspace(0, 2, 9)
    phase[5], p[5] = -1, np.nan
    flow = Network(read_feeder(small_feeder_dir)).solve(phase, p, np.zeros(9))
    assert np.isfinite(flow.house_voltages).all()


def test_the_one_instant_without_a_solution_is_named(small_feeder_dir):
    p = np.ones((9, 6))
    p[7, 4] = 900.0
    with pytest.raises(FlowError, match=r"instant 4: .* house H00[789]"):
        Network(read_feeder(small_feeder_dir)).solve_batch(np.zeros((9, 6), dtype=int), p, 0 * p)


def test_a_load_beyond_what_the_feeder_can_carry_is_an_error_and_not_a_number(small_feeder_dir):
    feeder = read_feeder(small_feeder_dir)
    with pytest.raises(FlowError, match="power flow"):
        Network(feeder).solve(np.zeros(9, dtype=int), np.full(9, 5000.0), np.zeros(9))
