"""Tables of plants, their load and what is known beside it, on the central database's own `metadata`."""

from __future__ import annotations

import sqlalchemy as sa

from trainer.fleet.database import metadata

plant = sa.Table(
    "plant",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("zone", sa.Text, nullable=False, comment="of the plant's calendar, not of the files it came from"),
    sa.Column("slot_s", sa.Integer, nullable=False),
    sa.Column("holidays", sa.Text, nullable=False, comment="JSON list of local dates, three years beyond the data"),
    sa.Column("holidays_from", sa.Text, nullable=False, comment="what the operator gave, e.g. AU-VIC; may be empty"),
)

# Known slots only: a slot that is not there is a gap. Numbers only, clustered by key, as `reading` is.
plant_series = sa.Table(
    "plant_series",
    metadata,
    sa.Column("plant", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="start of the slot"),
    sa.Column("power_kw", sa.Double, nullable=False, comment="mean over the slot"),
    sqlite_with_rowid=False,
)

# What is known beside the load, on the same slots: weather, own PV, production. See `Snapshot.covariates`.
plant_covariate = sa.Table(
    "plant_covariate",
    metadata,
    sa.Column("plant", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("time_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="start of the slot"),
    sa.Column("value", sa.Double, nullable=False),
    sqlite_with_rowid=False,
)

# Faults of the files that were imported, which the values cannot tell: doubled rows, clocks, counters that went back.
plant_flag = sa.Table(
    "plant_flag",
    metadata,
    sa.Column("plant", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("flag", sa.Text, primary_key=True, comment="see trainer/dataset/flags.py"),
    sa.Column("time_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="start of the slot"),
    sqlite_with_rowid=False,
)
