"""The power flow against OpenDSS with four wires, and against what physics says of simple cases."""

from __future__ import annotations

import numpy as np
import pytest

from balancer.feeder import PHASES, Feeder
from balancer.feeder_folder import read_feeder, read_profiles
from balancer.network import FlowError, Network
from balancer.unbalance import vuf_percent

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
        rn = max(rn, 1e-7)      # some sections give Z0 = Z1, and OpenDSS cannot invert no impedance
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
    dss.Circuit.SetActiveBus(f"B{unit.bus}")
    volts = (np.array(dss.Bus.Voltages()).reshape(-1, 2) @ [1, 1j])[:3]
    losses = sum(dss.Circuit.LineLosses()[:1])
    return {"neutral_a": abs(flow[4:7].sum()), "phase_a": np.sort(np.abs(flow[4:7])),
            "vuf_percent": float(vuf_percent(volts)), "line_loss_kw": losses}


def _compare(feeder: Feeder, phase: np.ndarray, p_kw: np.ndarray, q_kvar: np.ndarray) -> None:
    ours = Network(feeder).solve(phase, p_kw, q_kvar)
    referee = _solve_in_opendss(feeder, phase, p_kw, q_kvar)
    assert float(ours.neutral_current_a) == pytest.approx(referee["neutral_a"], abs=0.005)
    assert float(ours.vuf_transformer_percent) == pytest.approx(referee["vuf_percent"], abs=0.005)
    assert np.sort(np.abs(ours.phase_current)) == pytest.approx(referee["phase_a"], abs=0.005)
    assert float(ours.line_loss_kw) == pytest.approx(referee["line_loss_kw"], rel=0.002, abs=1e-4)


@pytest.mark.parametrize("minute", [200, 450, 760, 1100, 1200])
def test_flow_agrees_with_opendss_on_a_small_street(small_feeder_dir, minute):
    feeder = read_feeder(small_feeder_dir)
    profiles = read_profiles(small_feeder_dir, feeder)
    load, pv = profiles.load_kw[:, minute], profiles.pv_kw[:, minute]
    phase = (np.arange(9) * (1 + minute % 2)) % 3
    _compare(feeder, phase, load - pv, load * 0.33)


@pytest.mark.parametrize("minute", [30, 480, 745, 1170])
def test_flow_agrees_with_opendss_on_the_european_lv_network(measured_feeder_dir, make_feeder_dir, minute):
    folder = measured_feeder_dir or make_feeder_dir(houses=55)      # where the measured case is not at hand
    feeder = read_feeder(folder)
    profiles = read_profiles(folder, feeder)
    load, pv = profiles.load_kw[:, minute], profiles.pv_kw[:, minute]
    phase = np.random.default_rng(minute).integers(-1, 3, len(load))
    _compare(feeder, phase, load - pv, load * np.linspace(0.1, 0.8, len(load)))


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


def test_a_load_beyond_what_the_feeder_can_carry_is_an_error_and_not_a_number(small_feeder_dir):
    feeder = read_feeder(small_feeder_dir)
    with pytest.raises(FlowError, match="power flow"):
        Network(feeder).solve(np.zeros(9, dtype=int), np.full(9, 5000.0), np.zeros(9))
