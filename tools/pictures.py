"""Draws the README's pictures: the walk-through as it runs, seen by a real control room of 80x24.

    .venv/bin/python tools/pictures.py docs/pictures
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}

from balancer.study import DEFAULT_START
from pi_service.contract import Snapshot
from pi_service.demo import DemoPlan, RunningDemo, start_demo
from pi_service.paths import data_dir
from smartphase_tui.app import SmartPhaseApp, make_room
from smartphase_tui.settings import ConnectionSettings

WITHIN_S = 120


async def draw(demo: RunningDemo, feeder: Path, out: Path) -> None:
    """Watch the story and draw it at its turns."""
    app = SmartPhaseApp(make_room(ConnectionSettings(
        host=demo.host, port=demo.port, operator="anil", site_dir=demo.site, feeder_dir=feeder, feeder="KL-TSR-0007",
        telemetry_db=demo.data / "telemetry.db", audit_db=demo.data / "audit.db", glyphs="unicode",
        colours="truecolor")))
    async with app.run_test(size=(80, 24)) as pilot:
        async def until(seen: Callable[[Snapshot], bool]) -> None:
            async with asyncio.timeout(WITHIN_S):
                while (now := app.room.store.snapshot) is None or not seen(now):
                    await pilot.pause(0.2)
            await pilot.pause(1.2)

        def picture(name: str) -> None:
            text = app.export_screenshot(title="smartphase demo --scenario walkthrough")
            text = re.sub(r"@font-face \{.*?\}\s*", "", text, flags=re.DOTALL)      # no fonts from elsewhere
            (out / f"{name}.svg").write_text(text.replace("Fira Code", "DejaVu Sans Mono"), encoding="utf-8")

        await until(lambda now: now.proposal is not None and now.phases[0].current_a.value is not None
                    and now.phases[0].current_a.value > now.phase_limit_a)
        picture("before")
        await until(lambda now: sum(switch.state == "VERIFIED" for switch in now.switches) >= 2)
        picture("after")
        await pilot.press("enter")
        await pilot.press("r", "b")
        await pilot.pause(2.0)
        picture("move")


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    feeder = data_dir() / "feeders" / "walkthrough"
    with tempfile.TemporaryDirectory() as folder:
        plan = DemoPlan(f"{folder}/demo", str(feeder), DEFAULT_START + 9 * 3600, speed=10.0)
        with start_demo(plan) as demo:
            asyncio.run(draw(demo, feeder, out))


if __name__ == "__main__":
    main()
