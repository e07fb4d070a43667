-- telemetry.db, version 1. Append-only rowid tables with an index on time: a primary key on (house, at) writes
-- forty times as many bytes to the SD card. Times are Unix s; a phase is 0, 1, 2 for R, Y, B, -1 for none.

CREATE TABLE house (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE mark (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;

CREATE TABLE reading (
    at REAL NOT NULL, house INTEGER NOT NULL, phase INTEGER NOT NULL, good INTEGER NOT NULL,
    voltage_v REAL NOT NULL, current_a REAL NOT NULL, net_kw REAL NOT NULL, net_kvar REAL NOT NULL,
    solar_kw REAL NOT NULL
) STRICT;
CREATE INDEX reading_at ON reading (at);

CREATE TABLE meter_reading (
    at REAL NOT NULL, good INTEGER NOT NULL,
    r_v REAL NOT NULL, y_v REAL NOT NULL, b_v REAL NOT NULL,
    r_a REAL NOT NULL, y_a REAL NOT NULL, b_a REAL NOT NULL,
    r_kw REAL NOT NULL, y_kw REAL NOT NULL, b_kw REAL NOT NULL,
    r_kvar REAL NOT NULL, y_kvar REAL NOT NULL, b_kvar REAL NOT NULL,
    neutral_a REAL NOT NULL, vuf_percent REAL
) STRICT;
CREATE INDEX meter_reading_at ON meter_reading (at);

-- Means of a minute; from sealed readings where the minute has any, else from plain ones (good = 0).
CREATE TABLE house_minute (
    at INTEGER NOT NULL, house INTEGER NOT NULL, phase INTEGER NOT NULL, good INTEGER NOT NULL,
    readings INTEGER NOT NULL, voltage_v REAL NOT NULL, current_a REAL NOT NULL, net_kw REAL NOT NULL,
    net_kvar REAL NOT NULL, solar_kw REAL NOT NULL
) STRICT;
CREATE INDEX house_minute_at ON house_minute (at);

CREATE TABLE house_quarter (
    at INTEGER NOT NULL, house INTEGER NOT NULL, phase INTEGER NOT NULL, good INTEGER NOT NULL,
    readings INTEGER NOT NULL, voltage_v REAL NOT NULL, current_a REAL NOT NULL, net_kw REAL NOT NULL,
    net_kvar REAL NOT NULL, solar_kw REAL NOT NULL
) STRICT;
CREATE INDEX house_quarter_at ON house_quarter (at);

CREATE TABLE feeder_minute (
    at INTEGER NOT NULL, good INTEGER NOT NULL, readings INTEGER NOT NULL,
    r_v REAL NOT NULL, y_v REAL NOT NULL, b_v REAL NOT NULL,
    r_a REAL NOT NULL, y_a REAL NOT NULL, b_a REAL NOT NULL,
    kw REAL NOT NULL, kvar REAL NOT NULL,
    neutral_a REAL NOT NULL, neutral_a_max REAL NOT NULL, vuf_percent REAL
) STRICT;
CREATE INDEX feeder_minute_at ON feeder_minute (at);

CREATE TABLE feeder_quarter (
    at INTEGER NOT NULL, good INTEGER NOT NULL, readings INTEGER NOT NULL,
    r_v REAL NOT NULL, y_v REAL NOT NULL, b_v REAL NOT NULL,
    r_a REAL NOT NULL, y_a REAL NOT NULL, b_a REAL NOT NULL,
    kw REAL NOT NULL, kvar REAL NOT NULL,
    neutral_a REAL NOT NULL, neutral_a_max REAL NOT NULL, vuf_percent REAL
) STRICT;
CREATE INDEX feeder_quarter_at ON feeder_quarter (at);
