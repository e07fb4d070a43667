"""The daemon's one configuration file, `smartphased.toml`: read, checked, every error one line.

Relative paths in it are relative to the file itself, so that a site's folder can be moved as a whole.
Not here: what the site's keys and operators are (`site`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from balancer.errors import SmartPhaseError
from pi_service.clock import Clock, ScaledClock, SystemClock
from pi_service.contract import Mode

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Share = Annotated[float, msgspec.Meta(gt=0, le=100)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]


class ConfigError(SmartPhaseError):
    """A configuration that cannot be taken: names the file and the key."""


class SiteSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the site lies: keys and operators (`dir`), the feeder folder, the databases (`data`)."""

    dir: str = "."
    feeder: str = "feeder"
    data: str = "data"


class BrokerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to reach the broker. With `tls`: the CA, and this machine's certificate and key (PEM files).

    `name` is shown on screens ("mosquitto", "DEMO BROKER, no client authentication").
    """

    host: str = "127.0.0.1"
    port: Port = 1883
    tls: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""
    username: str = ""
    password_file: str = ""
    name: str = ""


class ControlSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The control cycle and the life of a switch.

    Plant time (`Clock.now`): interval_s, overload_interval_s, dwell_s, pv_reconnect_s, hold_release_s.
    Waiting time (`Clock.monotonic`): ack_timeout_s, verify_timeout_s, query_retry_s, preview_s.
    `command_life_s` (`Clock.wall`) is how long a node may still take a command.
    """

    mode: Mode = "AUTO"
    interval_s: Seconds = 60.0
    overload_interval_s: Seconds = 10.0
    max_in_flight: Annotated[int, msgspec.Meta(ge=1, le=4)] = 1
    command_life_s: Seconds = 30.0
    ack_timeout_s: Seconds = 10.0
    verify_timeout_s: Seconds = 30.0
    query_attempts: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    query_retry_s: Seconds = 60.0
    dwell_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 1800.0
    max_switches_per_day: Annotated[int, msgspec.Meta(ge=0, le=20)] = 2
    pv_reconnect_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 300.0
    preview_s: Seconds = 30.0
    hold_release_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 120.0
    hold_stale_houses_percent: Share = 30.0
    accept_plain_telemetry: bool = False


class TelemetrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often the field reports, and when its word is too old to act on (`Clock.monotonic`)."""

    interval_s: Seconds = 1.0
    stale_after_s: Seconds = 15.0
    commit_s: Seconds = 10.0
    meter: bool = True
    queue: Annotated[int, msgspec.Meta(ge=100, le=1_000_000)] = 10_000


class ClockSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A simulated calendar, shared by daemon and street through three numbers."""

    wall_start: float
    plant_start: float
    speed: Annotated[float, msgspec.Meta(gt=0, le=10_000)] = 1.0


class StationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the functional core (`station.Station`) is set to."""

    control: ControlSettings = ControlSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    broker_name: str = ""
    speed: float = 1.0


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of `smartphased.toml`."""

    site: SiteSettings = SiteSettings()
    broker: BrokerSettings = BrokerSettings()
    control: ControlSettings = ControlSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    clock: ClockSettings | None = None

    @property
    def station(self) -> StationConfig:
        broker = self.broker
        return StationConfig(
            control=self.control,
            telemetry=self.telemetry,
            broker_name=f"{broker.name or 'broker'} {broker.host}:{broker.port}",
            speed=self.clock.speed if self.clock else 1.0,
        )

    def make_clock(self) -> Clock:
        """The clock that [clock] asks for: the machine's own without it."""
        if self.clock is None:
            return SystemClock()
        return ScaledClock(self.clock.wall_start, self.clock.plant_start, self.clock.speed)


def load_config(path: Path) -> Config:
    """Read `smartphased.toml`, its paths made absolute.

    Raises ConfigError, one line, for a file that is missing, is not TOML, has an unknown key, or a value out of
    range.
    """
    try:
        config = msgspec.toml.decode(path.read_bytes(), type=Config)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; write one with `smartphase site init DIR`") from error
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    _check_together(path, config)
    base = path.resolve().parent
    site, broker = config.site, config.broker
    return msgspec.structs.replace(
        config,
        site=SiteSettings(*(str(base / part) for part in (site.dir, site.feeder, site.data))),
        broker=msgspec.structs.replace(broker, **{
            key: str(base / getattr(broker, key))
            for key in ("ca", "certificate", "key", "password_file") if getattr(broker, key)
        }),
    )


def _check_together(path: Path, config: Config) -> None:
    """What no single value can say: pairs that contradict each other."""
    if config.telemetry.stale_after_s < 2 * config.telemetry.interval_s:
        raise ConfigError(f"{path}: telemetry.stale_after_s must be at least twice telemetry.interval_s")
    if config.control.verify_timeout_s < config.telemetry.interval_s:
        raise ConfigError(f"{path}: control.verify_timeout_s must be at least telemetry.interval_s, "
                          "or no reading can ever prove a switch")
    if config.broker.tls and not config.broker.ca:
        raise ConfigError(f"{path}: broker.tls needs broker.ca, the PEM file of the site's certificate authority")
