"""A day without a screen, by the command line: the same seed tells the same story, and every fault a true one."""

from __future__ import annotations

import pytest

from balancer.score import score_day
from balancer.study import POLICIES
from pi_service.contract import FINAL_STATES

SCORED = {
    "neutral_a_mean", "neutral_a_p95", "vuf_percent_p95_transformer", "vuf_percent_p95_worst_house", "loss_kwh",
    "pv_lost_kwh", "energy_kwh", "voltage_v_max", "voltage_v_min", "phase_a_max", "switches",
    "max_switches_per_house", "decision_ms_mean", "decision_ms_p99",
}
FAULTS = (
    ("node-dead:H05@09:00", "node-stale"),
    ("ack-lost:next@09:00", "quarantined"),
    ("ack-lies:next@09:00", "command-failed"),
    ("relay-welded:next@09:00", "quarantined"),
    ("meter-stale@09:10,for=10", "meter-stale"),
    ("broker-restart:SENT@09:00", "command-failed"),
    ("daemon-kill:ACKED@09:00", None),
)


def test_one_hour_of_the_kerala_street_gives_every_key_of_a_scored_day(headless) -> None:
    day = headless("--hours", 1, "--start", "17:30")
    assert set(day.figures["before"]) == set(day.figures["after"]) == SCORED
    assert day.figures["feeder"] == "KL-TSR-0142"
    assert day.figures["after"]["neutral_a_mean"] < day.figures["before"]["neutral_a_mean"]
    assert day.figures["overlap_ms"] == 0


def test_the_same_seed_gives_the_same_switch_log_byte_for_byte(headless, walkthrough) -> None:
    again = headless("--scenario", "walkthrough")
    assert again.figures["switch_log"]
    assert again.figures["switch_log"] == walkthrough.figures["switch_log"]
    timed = ("decision_ms_mean", "decision_ms_p99")
    for when in ("before", "after"):
        assert {k: v for k, v in again.figures[when].items() if k not in timed} == {
            k: v for k, v in walkthrough.figures[when].items() if k not in timed}


@pytest.mark.parametrize(("fault", "alarm"), FAULTS)
def test_with_a_fault_the_day_ends_well_and_the_alarms_say_what_happened(headless, smartphase, fault: str,
                                                                       alarm: str | None) -> None:
    day = headless("--scenario", "walkthrough", "--fault", fault)
    assert day.figures["faults"] == [fault]
    assert day.figures["overlap_ms"] == 0
    assert day.figures["switches"]
    assert {switch["state"] for switch in day.figures["switches"]} <= FINAL_STATES
    assert day.figures["after"]["max_switches_per_house"] <= 2
    if alarm is not None:
        assert alarm in {each["name"] for each in day.figures["alarms"]}
    assert smartphase("audit", "verify", "--site", day.site).returncode == 0


def test_several_faults_may_strike_the_same_day(headless) -> None:
    day = headless("--scenario", "walkthrough", "--fault", "node-dead:H01@09:00", "--fault",
                   "meter-stale@09:20,for=10")
    assert {"node-stale", "meter-stale"} <= {each["name"] for each in day.figures["alarms"]}


def test_a_study_sets_the_policies_side_by_side_and_its_plan_can_be_scored_again(smartphase, make_feeder_dir,
                                                                               tmp_path) -> None:
    import json

    import numpy as np
    from pypdf import PdfReader

    from balancer.feeder_folder import read_feeder, read_profiles
    from balancer.network import Network

    folder = make_feeder_dir(houses=12, minutes=1440)
    files = {kind: tmp_path / f"study.{kind}" for kind in ("json", "npz", "pdf")}
    done = smartphase("study", folder, "--json", files["json"], "--plan", files["npz"], "--report", files["pdf"])
    assert done.returncode == 0, done.stderr
    told = json.loads(files["json"].read_text())
    assert set(told["policies"]) == set(POLICIES)
    plan, feeder = np.load(files["npz"]), read_feeder(folder)
    profiles = read_profiles(folder, feeder)
    tan = np.tan(np.arccos([house.power_factor for house in feeder.houses]))[:, None]
    score = score_day(Network(feeder), plan["phase"], profiles.load_kw, profiles.load_kw * tan, plan["pv_kw"],
                      profiles.pv_kw, np.zeros(len(feeder.houses), np.int64))
    assert score["neutral_a_mean"] == pytest.approx(told["policies"]["smartphase"]["neutral_a_mean"])
    assert score["pv_lost_kwh"] == pytest.approx(told["policies"]["smartphase"]["pv_lost_kwh"])
    assert "seed_rule" in PdfReader(files["pdf"]).pages[0].extract_text()


def test_a_site_is_made_with_keys_that_only_its_owner_reads(smartphase, make_feeder_dir, tmp_path) -> None:
    site = tmp_path / "site"
    done = smartphase("site", "init", site, "--feeder", make_feeder_dir(), "--operator", "anil=operator")
    assert done.returncode == 0, done.stderr
    for secret in (site / "nodes.json", site / "operators" / "anil.pem"):
        assert secret.stat().st_mode & 0o077 == 0
    before = (site / "nodes.json").read_bytes()
    smartphase("site", "init", site, "--feeder", make_feeder_dir(), "--operator", "anil=operator")
    assert (site / "nodes.json").read_bytes() == before
