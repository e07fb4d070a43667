"""What the control room must be told to start: broker, feeder, operator, and what the terminal can do.

Light on purpose: the command line builds it before the screen's toolkit is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

GlyphTier = Literal["auto", "ascii", "cp437", "unicode"]
ColourTier = Literal["auto", "mono", "16", "truecolor"]


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Everything `smartphase_tui.app.run` takes. Only the broker's address is needed to look.

    Attributes:
        host: the broker's name or address.
        port: its port; 1883 in the clear on the Pi itself, 8883 with TLS elsewhere.
        tls_ca: the site's CA certificate (PEM). Given: TLS, and the broker must prove itself. None: no TLS.
        username: of the broker's account, "" where it asks for none.
        password: of that account.
        feeder: the feeder's id, as `KL-TSR-0142`; "" takes the first that is seen on the broker.
        operator: who sits here, as the site names them; "" is view-only.
        operator_key: their Ed25519 private key (PEM). None with a `site_dir` takes that site's key of `operator`.
        role: what the header says of their authority where no `site_dir` tells. The Pi decides in any case.
        site_dir: the site's directory (smartphased.toml, operators.toml, keys), where this machine has it.
        feeder_dir: the feeder folder, for before/after and the report from the databases of this machine.
        telemetry_db: `telemetry.db` where this machine has it (the Pi's own console); read only.
        audit_db: `audit.db` likewise. Without them history is asked for over MQTT.
        report_dir: where F7 writes the PDF. None: the current directory.
        glyphs: what the terminal can draw; "auto" decides from TERM and the locale, once, at the start.
        colours: likewise, from TERM, COLORTERM and NO_COLOR.
        mouse: take the mouse (click selects a house); False leaves it to the terminal's copy and paste.
    """

    host: str = "127.0.0.1"
    port: int = 1883
    tls_ca: Path | None = None
    username: str = ""
    password: str = ""
    feeder: str = ""
    operator: str = ""
    operator_key: Path | None = None
    role: str = "operator"
    site_dir: Path | None = None
    feeder_dir: Path | None = None
    telemetry_db: Path | None = None
    audit_db: Path | None = None
    report_dir: Path | None = None
    glyphs: GlyphTier = "auto"
    colours: ColourTier = "auto"
    mouse: bool = True
