"""Where things lie: the data that ships with SmartPhase, and the state that it writes.

Not here: a site's own folder (`site`) and its configuration (`config`).
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

import platformdirs

from balancer.errors import SmartPhaseError

APPLICATION = "smartphase"


def data_dir() -> Path:
    """The folder of shipped data: `data/` of a checkout, `share/smartphase` of an installation.

    Raises SmartPhaseError where neither is found.
    """
    checkout = Path(__file__).resolve().parent.parent / "data"
    installed = Path(sysconfig.get_path("data")) / "share" / APPLICATION
    for candidate in (checkout, installed):
        if (candidate / "alarms").is_dir() or (candidate / "feeders").is_dir():
            return candidate
    raise SmartPhaseError(f"data folder: neither {checkout} nor {installed} exists; install smartphase again")


def state_dir() -> Path:
    """The user's folder for the demo's site, databases and logs. Made on first use by whoever writes there."""
    return Path(platformdirs.user_state_dir(APPLICATION))
