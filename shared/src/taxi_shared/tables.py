"""The lake's tables: the only place that declares the name, type and origin of each column.

The SQL that conforms TLC's files, the schema of the lake, the columns shown in Dagster's UI and the
documentation are all made from these descriptions. Columns follow TLC's data dictionaries
(https://www.nyc.gov/site/tlc/about/tlc-trip-record-data.page) and the footers of its files.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dagster as dg

MONEY = "DECIMAL(12,2)"
MILES = "DECIMAL(12,2)"


@dataclass(frozen=True)
class Column:
    """A column of a table in the lake.

    name:        its name
    type:        its SQL type
    description: what it holds, with unit
    sources:     its names in TLC's files over the years; empty if no file has it
    first, last: first and last month (`2009-01`) whose files must have it; last is None if the
                 newest files must, and first is None if it is optional in all files
    codes:       texts that TLC once wrote for a value, in upper case, and that value
    coordinates: columns of longitude and latitude, by which a taxi zone is found in files without
                 this column
    expression:  SQL over the columns above, for a column that no file has
    """

    name: str
    type: str
    description: str
    sources: tuple[str, ...] = ()
    first: str | None = "2009-01"
    last: str | None = None
    codes: Mapping[str, int | str] = field(default_factory=dict)
    coordinates: tuple[str, ...] = ()
    expression: str = ""

    def is_published_in(self, month: str) -> bool:
        """Whether the file of `month` (`2009-01`) must have this column."""
        if not self.sources or self.first is None:
            return False
        return self.first <= month and (self.last is None or month <= self.last)

    @property
    def publication(self) -> str:
        """A sentence with the months of TLC's files that have it; empty if no file does."""
        return f"In TLC's files {self.months}." if self.sources else ""

    @property
    def months(self) -> str:
        """The months whose files have it, in words."""
        if self.first is None:
            return "where a file has it"
        months = f"{self.first} to {self.last}" if self.last else f"since {self.first}"
        if self.coordinates:
            months += f", before by {' and '.join(self.coordinates)}"
        return months


@dataclass(frozen=True)
class Table:
    """A table of the lake: a folder of Parquet files, one per partition or one in all.

    name:         name of the view in DuckDB and of the folder below `staging/`
    columns:      in their order in the file; the partition column is not in the file
    partition_by: column in the name of a folder, as in `partition_date=2023-03-01`
    days:         for a table of trips, the table with the days in each of its files, and counts of
                  implausible trips; its expressions are over the rows of a day
    """

    name: str
    columns: tuple[Column, ...]
    partition_by: Column | None = None
    days: "Table | None" = None

    def origins(self) -> dict[str, list[str]]:
        """Map each column to the columns of TLC's files that it comes from, newest names first."""
        sources = {column.name: column.sources for column in self.columns}
        found = {}
        for column in self.columns:
            words = (*column.coordinates, *re.findall(r"\w+", column.expression))
            others = [name for word in words for name in sources.get(word, ())]
            found[column.name] = list(dict.fromkeys((*column.sources, *others)))
        return found

    def has(self, column: str) -> bool:
        """Whether the table has a column of that name, apart from its partition column."""
        return any(each.name == column for each in self.columns)

    @property
    def fingerprint_source(self) -> str:
        """What the content depends on: everything about the columns but their descriptions."""
        columns = [replace(column, description="") for column in self.columns]
        return f"{columns} {self.days.fingerprint_source if self.days else ''}"

    @property
    def all_columns(self) -> tuple[Column, ...]:
        """The columns and the partition column."""
        return self.columns + ((self.partition_by,) if self.partition_by else ())

    def dagster_schema(self) -> "dg.TableSchema":
        """Return the columns as Dagster shows them on an asset's page."""
        # Imported here: the report portal reads the tables without loading Dagster.
        import dagster as dg

        return dg.TableSchema(
            columns=[
                dg.TableColumn(c.name, c.type, f"{c.description} {c.publication}".strip())
                for c in self.all_columns
            ]
        )


PARTITION_DATE = Column(
    "partition_date", "DATE", "First day of the month of TLC's file that holds the trip."
)

_VENDORS = {"CMT": 1, "VTS": 2, "DDS": 3}
_PAYMENTS = {
    **dict.fromkeys(("CREDIT", "CRE", "CRD"), 1),
    **dict.fromkeys(("CASH", "CAS", "CSH"), 2),
    **dict.fromkeys(("NO CHARGE", "NOC", "NO"), 3),
    **dict.fromkeys(("DISPUTE", "DIS"), 4),
    **dict.fromkeys(("UNKNOWN", "UNK", "NA"), 5),
}
_FLAGS = {"0": "N", "0.0": "N", "1": "Y", "1.0": "Y"}

_VENDOR_ID = Column(
    "vendor_id",
    "INTEGER",
    "Provider of the record: 1 Creative Mobile Technologies, 2 Curb Mobility (once VeriFone), "
    "3 Digital Dispatch Systems, 6 Myle Technologies, 7 Helix.",
    ("VendorID", "vendor_id", "vendor_name"),
    codes=_VENDORS,
)
_PICKUP_DATETIME = Column(
    "pickup_datetime",
    "TIMESTAMP",
    "When the meter was engaged: wall-clock time in New York, without a zone.",
    ("tpep_pickup_datetime", "pickup_datetime", "Trip_Pickup_DateTime"),
)
_DROPOFF_DATETIME = Column(
    "dropoff_datetime",
    "TIMESTAMP",
    "When the meter was disengaged: wall-clock time in New York, without a zone.",
    ("tpep_dropoff_datetime", "dropoff_datetime", "Trip_Dropoff_DateTime"),
)
_RATE_CODE_ID = Column(
    "rate_code_id",
    "INTEGER",
    "Rate at the end of the trip: 1 standard, 2 JFK, 3 Newark, 4 Nassau or Westchester, "
    "5 negotiated, 6 group ride, 99 unknown.",
    ("RatecodeID", "rate_code", "Rate_Code"),
)
_STORE_AND_FWD_FLAG = Column(
    "store_and_fwd_flag",
    "VARCHAR",
    "Y where the record waited in the vehicle for a connection, N where not.",
    ("store_and_fwd_flag", "store_and_forward"),
    codes=_FLAGS,
)
_PICKUP_ZONE_ID = Column(
    "pickup_zone_id",
    "INTEGER",
    "Taxi zone of the pickup.",
    ("PULocationID",),
    first="2011-01",
    coordinates=("pickup_longitude", "pickup_latitude"),
)
_DROPOFF_ZONE_ID = Column(
    "dropoff_zone_id",
    "INTEGER",
    "Taxi zone of the drop-off.",
    ("DOLocationID",),
    first="2011-01",
    coordinates=("dropoff_longitude", "dropoff_latitude"),
)
_PASSENGER_COUNT = Column(
    "passenger_count",
    "INTEGER",
    "Passengers, as the driver entered them.",
    ("passenger_count", "Passenger_Count"),
)
_TRIP_DISTANCE = Column(
    "trip_distance",
    MILES,
    "Distance by the taximeter, in miles.",
    ("trip_distance", "Trip_Distance"),
)
_FARES = (
    Column(
        "fare_amount",
        MONEY,
        "Fare by time and distance, in US dollars.",
        ("fare_amount", "Fare_Amt"),
    ),
    Column(
        "extra",
        MONEY,
        "Extras and surcharges such as rush hour and overnight, in US dollars.",
        ("extra", "surcharge"),
    ),
    Column("mta_tax", MONEY, "Tax of the MTA, in US dollars.", ("mta_tax",)),
    Column(
        "tip_amount",
        MONEY,
        "Tip by credit card; cash tips are not recorded. In US dollars.",
        ("tip_amount", "Tip_Amt"),
    ),
    Column("tolls_amount", MONEY, "Tolls, in US dollars.", ("tolls_amount", "Tolls_Amt")),
)
_IMPROVEMENT_SURCHARGE = Column(
    "improvement_surcharge",
    MONEY,
    "Improvement surcharge at flag drop, in US dollars.",
    ("improvement_surcharge",),
    first="2011-01",
)
_TOTAL_AMOUNT = Column(
    "total_amount",
    MONEY,
    "Charged in all, without cash tips; negative for refunds. In US dollars.",
    ("total_amount", "Total_Amt"),
)
_PAYMENT_TYPE = Column(
    "payment_type",
    "INTEGER",
    "0 flex fare, 1 credit card, 2 cash, 3 no charge, 4 dispute, 5 unknown, 6 voided.",
    ("payment_type", "Payment_Type"),
    codes=_PAYMENTS,
)
_CONGESTION_SURCHARGE = Column(
    "congestion_surcharge",
    MONEY,
    "Congestion surcharge of New York State, in US dollars.",
    ("congestion_surcharge",),
    first="2011-01",
)
_AIRPORT_FEE = Column(
    "airport_fee",
    MONEY,
    "Fee for pickups at LaGuardia and JFK, in US dollars.",
    ("airport_fee", "Airport_fee"),
    first="2011-01",
)
_CBD_CONGESTION_FEE = Column(
    "cbd_congestion_fee",
    MONEY,
    "Fee of the MTA's congestion relief zone, in US dollars.",
    ("cbd_congestion_fee",),
    first="2025-01",
)
_REQUEST_SOURCE = Column(
    "request_source",
    "VARCHAR",
    "How the trip was requested, as TLC writes it.",
    ("request_source",),
    first="2026-06",
)
_COORDINATES = tuple(
    Column(
        f"{event}_{axis}",
        "DOUBLE",
        f"{axis.capitalize()} of the {name}, in degrees (WGS 84).",
        (f"{event}_{axis}", f"{side}_{axis[:3].capitalize()}"),
        last="2010-12",
    )
    for event, name, side in (("pickup", "pickup", "Start"), ("dropoff", "drop-off", "End"))
    for axis in ("longitude", "latitude")
)
# Engines number weekdays and begin weeks differently. Computed once, at ingestion, they let metrics
# be the same SQL on every engine.
_DERIVED = (
    Column("pickup_date", "DATE", "Day of the pickup.", expression="CAST(pickup_datetime AS DATE)"),
    Column(
        "pickup_hour",
        "INTEGER",
        "Hour of the pickup, 0 to 23.",
        expression="EXTRACT(HOUR FROM pickup_datetime)",
    ),
    Column(
        "pickup_weekday",
        "INTEGER",
        "Day of the week of the pickup, 0 Sunday to 6 Saturday.",
        expression="EXTRACT(DOW FROM pickup_datetime)",
    ),
    Column(
        "week_start",
        "DATE",
        "The Sunday that begins the week of the pickup.",
        # 0001-01-01 was a Monday: no date is the Sunday before it.
        expression="CASE WHEN pickup_datetime >= TIMESTAMP '0001-01-07' THEN CAST(pickup_datetime "
        "AS DATE) - CAST(EXTRACT(DOW FROM pickup_datetime) AS INTEGER) END",
    ),
)


_TRIPS = (
    _VENDOR_ID,
    _PICKUP_DATETIME,
    _DROPOFF_DATETIME,
    _PASSENGER_COUNT,
    _TRIP_DISTANCE,
    _RATE_CODE_ID,
    _STORE_AND_FWD_FLAG,
    _PICKUP_ZONE_ID,
    _DROPOFF_ZONE_ID,
    _PAYMENT_TYPE,
    *_FARES,
    _IMPROVEMENT_SURCHARGE,
    _TOTAL_AMOUNT,
    _CONGESTION_SURCHARGE,
    _AIRPORT_FEE,
    _CBD_CONGESTION_FEE,
    _REQUEST_SOURCE,
    *_COORDINATES,
)


def _count(name: str, description: str, condition: str) -> Column:
    return Column(
        name,
        "BIGINT",
        description,
        expression=f"CAST(coalesce(count_if({condition}), 0) AS BIGINT)",
    )


def _unknown_zone(event: str, name: str) -> Column:
    # 264 and 265 are above the ids of the zones that are places.
    zone = f"{event}_zone_id"
    return _count(
        f"num_unknown_{event}_zones",
        f"Trips whose {name} has no zone: NULL, 264 (unknown), 265 (outside New York), or no id.",
        f"{zone} IS NULL OR {zone} NOT BETWEEN 1 AND 263",
    )


# Values that loading changes, counted in TLC's file because the lake no longer has them.
NAN_VALUES = Column(
    "num_nan_values", "BIGINT", "Trips with a number that is NaN in TLC's file; loaded as NULL."
)
UNUSABLE_TIMES = Column(
    "num_unusable_times",
    "BIGINT",
    "Trips with a time that is infinite or outside the years 1 to 9999; loaded as NULL.",
)
ROUNDED_VALUES = Column(
    "num_rounded_values",
    "BIGINT",
    "Trips with an id or count that is not a whole number in TLC's file; loaded rounded.",
)
UTC_OFFSETS = Column(
    "num_utc_offsets",
    "BIGINT",
    "Trips with a time that has a UTC offset in TLC's file; loaded without the offset.",
)
LOSSES = (NAN_VALUES, UNUSABLE_TIMES, ROUNDED_VALUES, UTC_OFFSETS)
DUPLICATES = Column(
    "num_exact_duplicates", "BIGINT", "Trips that equal an earlier one of the file in every column."
)


_COUNTS = (
    Column(
        "total_amount",
        "DECIMAL(18,2)",
        "Charged in all on that day, in US dollars; refunds count.",
        expression="coalesce(sum(total_amount), 0)",
    ),
    _count("num_negative_totals", "Trips with a negative total: refunds.", "total_amount < 0"),
    _count("num_zero_totals", "Trips with a total of zero.", "total_amount = 0"),
    _count("num_unknown_totals", "Trips without a total.", "total_amount IS NULL"),
    _count(
        "num_dropoffs_before_pickup",
        "Trips whose drop-off is before their pickup.",
        "dropoff_datetime < pickup_datetime",
    ),
    _count(
        "num_over_24_hours",
        "Trips that took more than 24 hours.",
        "epoch_us(dropoff_datetime) > epoch_us(pickup_datetime) + 86400000000",
    ),
    _count("num_over_200_miles", "Trips of more than 200 miles.", "trip_distance > 200"),
    _unknown_zone("pickup", "pickup"),
    _unknown_zone("dropoff", "drop-off"),
)


def days_of(name: str, trips: tuple[Column, ...]) -> Table:
    """Return the table of days of a table of trips, with the counts that its columns allow.

    For-hire vehicles have no amounts: their days have no total and no count of negative ones.
    """
    missing = {column.name for column in _TRIPS} - {column.name for column in trips}
    return Table(
        name,
        (
            Column(
                "pickup_date",
                "DATE",
                "Day of pickup; NULL where a trip has no pickup time.",
                expression="pickup_date",
            ),
            Column(
                "num_trips",
                "BIGINT",
                "Trips of the file that were picked up on that day.",
                expression="count(*)",
            ),
            *(c for c in _COUNTS if not missing.intersection(re.findall(r"\w+", c.expression))),
            DUPLICATES,
            *LOSSES,
        ),
        PARTITION_DATE,
    )


TRIP_DAYS = days_of("trip_days", _TRIPS)
TRIPS = Table("trips", (*_TRIPS, *_DERIVED), PARTITION_DATE, days=TRIP_DAYS)

GREEN_FIRST_MONTH = "2013-08"
# How green files differ from yellow ones; they have had the newest names from the start.
_GREEN: Mapping[str, Mapping[str, Any]] = {
    "pickup_datetime": {"sources": ("lpep_pickup_datetime",)},
    "dropoff_datetime": {"sources": ("lpep_dropoff_datetime",)},
    "airport_fee": {"sources": ()},
    "request_source": {"first": None},
    **{column.name: {"sources": ()} for column in _COORDINATES},
}


def _in_green_files(column: Column) -> Column:
    first = max(column.first or GREEN_FIRST_MONTH, GREEN_FIRST_MONTH)
    modern = replace(column, sources=column.sources[:1], first=first, coordinates=())
    return replace(modern, **_GREEN.get(column.name, {}))


GREEN_TRIP_DAYS = days_of("green_trip_days", _TRIPS)
GREEN_TRIPS = Table(
    "green_trips",
    (
        *(_in_green_files(column) for column in _TRIPS),
        Column(
            "ehail_fee",
            MONEY,
            "Fee for e-hail, in US dollars.",
            ("ehail_fee",),
            first=GREEN_FIRST_MONTH,
        ),
        Column(
            "trip_type",
            "INTEGER",
            "1 street hail, 2 dispatch.",
            ("trip_type",),
            first=GREEN_FIRST_MONTH,
        ),
        *_DERIVED,
    ),
    PARTITION_DATE,
    days=GREEN_TRIP_DAYS,
)

FHV_FIRST_MONTH = "2015-01"
_DISPATCHING_BASE = Column(
    "dispatching_base",
    "VARCHAR",
    "License number of the base that dispatched the trip, as in B02510.",
    ("dispatching_base_num",),
    first=FHV_FIRST_MONTH,
)
_FHV = (
    _DISPATCHING_BASE,
    Column(
        "affiliated_base",
        "VARCHAR",
        "License number of the base with which the vehicle is affiliated.",
        ("Affiliated_base_number",),
        first=FHV_FIRST_MONTH,
    ),
    Column(
        "pickup_datetime",
        "TIMESTAMP",
        "When the trip began: wall-clock time in New York, without a zone.",
        ("pickup_datetime",),
        first=FHV_FIRST_MONTH,
    ),
    Column(
        "dropoff_datetime",
        "TIMESTAMP",
        "When the trip ended: wall-clock time in New York, without a zone; bases report it since "
        "2017.",
        ("dropOff_datetime",),
        first=FHV_FIRST_MONTH,
    ),
    Column(
        "pickup_zone_id",
        "INTEGER",
        "Taxi zone of the pickup; NULL for many trips.",
        ("PUlocationID",),
        first=FHV_FIRST_MONTH,
    ),
    Column(
        "dropoff_zone_id",
        "INTEGER",
        "Taxi zone of the drop-off; NULL for many trips.",
        ("DOlocationID",),
        first=FHV_FIRST_MONTH,
    ),
    Column(
        "shared_ride_flag",
        "INTEGER",
        "1 for a trip in a chain of shared rides of a high-volume company, NULL for others. Since "
        "2019-02 those companies have files of their own.",
        ("SR_Flag",),
        first=FHV_FIRST_MONTH,
    ),
)
FHV_TRIP_DAYS = days_of("fhv_trip_days", _FHV)
FHV_TRIPS = Table("fhv_trips", (*_FHV, *_DERIVED), PARTITION_DATE, days=FHV_TRIP_DAYS)

FHVHV_FIRST_MONTH = "2019-02"


def _fhvhv(name: str, kind: str, description: str, source: str = "") -> Column:
    return Column(name, kind, description, (source or name,), first=FHVHV_FIRST_MONTH)


def _flag(name: str, description: str) -> Column:
    return _fhvhv(name, "VARCHAR", f"{description} Y or N; NULL where the base leaves it blank.")


_FHVHV_AMOUNTS = (
    _fhvhv(
        "base_passenger_fare",
        MONEY,
        "Fare before tolls, tips, taxes and fees, in US dollars.",
    ),
    _fhvhv("tolls_amount", MONEY, "Tolls, in US dollars.", "tolls"),
    _fhvhv("black_car_fund", MONEY, "Collected for the Black Car Fund, in US dollars.", "bcf"),
    _fhvhv("sales_tax", MONEY, "Sales tax of New York State, in US dollars."),
    _fhvhv(
        "congestion_surcharge",
        MONEY,
        "Congestion surcharge of New York State, in US dollars.",
    ),
    _fhvhv(
        "airport_fee",
        MONEY,
        "Fee for pickups and drop-offs at LaGuardia, JFK and Newark, in US dollars.",
    ),
    _fhvhv("tip_amount", MONEY, "Tip, in US dollars.", "tips"),
    _CBD_CONGESTION_FEE,
)
_FHVHV_TOTAL = Column(
    "total_amount",
    MONEY,
    "Paid in all, in US dollars: fare, tolls, Black Car Fund, tax, surcharge, fees and tip. TLC's "
    "files have no total; NULL where the fare is unknown.",
    expression=" + ".join(
        (
            "base_passenger_fare",
            *(f"coalesce({column.name}, 0)" for column in _FHVHV_AMOUNTS[1:]),
        )
    ),
)
_FHVHV = (
    _fhvhv(
        "license_number",
        "VARCHAR",
        "License of the high-volume service: HV0002 Juno, HV0003 Uber, HV0004 Via, HV0005 Lyft.",
        "hvfhs_license_num",
    ),
    replace(_DISPATCHING_BASE, first=FHVHV_FIRST_MONTH),
    _fhvhv(
        "originating_base",
        "VARCHAR",
        "License number of the base that received the request.",
        "originating_base_num",
    ),
    _fhvhv(
        "request_datetime",
        "TIMESTAMP",
        "When the passenger requested the trip: wall-clock time in New York, without a zone.",
    ),
    _fhvhv(
        "arrival_datetime",
        "TIMESTAMP",
        "When the driver arrived at the pickup: wall-clock time in New York, without a zone. TLC "
        "requires it of accessible vehicles; NULL where it is not reported.",
        "on_scene_datetime",
    ),
    _fhvhv(
        "pickup_datetime",
        "TIMESTAMP",
        "When the trip began: wall-clock time in New York, without a zone.",
    ),
    _fhvhv(
        "dropoff_datetime",
        "TIMESTAMP",
        "When the trip ended: wall-clock time in New York, without a zone.",
    ),
    _fhvhv("pickup_zone_id", "INTEGER", "Taxi zone of the pickup.", "PULocationID"),
    _fhvhv("dropoff_zone_id", "INTEGER", "Taxi zone of the drop-off.", "DOLocationID"),
    # Lyft reports thousandths of a mile.
    _fhvhv("trip_distance", "DECIMAL(12,3)", "Distance of the trip, in miles.", "trip_miles"),
    _fhvhv("trip_seconds", "INTEGER", "Duration of the trip, in seconds.", "trip_time"),
    *_FHVHV_AMOUNTS,
    _fhvhv(
        "driver_pay",
        MONEY,
        "Pay of the driver without tolls and tips, after commission, surcharges and taxes. In US "
        "dollars.",
    ),
    _flag("shared_request_flag", "Whether the passenger agreed to share the ride."),
    _flag("shared_match_flag", "Whether the passenger shared the vehicle with another party."),
    _flag("access_a_ride_flag", "Whether the trip was made for the MTA's Access-A-Ride."),
    _flag("wav_request_flag", "Whether a wheelchair-accessible vehicle was requested."),
    _flag("wav_match_flag", "Whether the vehicle was wheelchair-accessible."),
)
FHVHV_TRIP_DAYS = days_of("fhvhv_trip_days", (*_FHVHV, _FHVHV_TOTAL))
FHVHV_TRIPS = Table(
    "fhvhv_trips", (*_FHVHV, _FHVHV_TOTAL, *_DERIVED), PARTITION_DATE, days=FHVHV_TRIP_DAYS
)

ZONES = Table(
    "zones",
    (
        Column("zone_id", "INTEGER", "TLC's LocationID, 1 to 265."),
        Column(
            "zone",
            "VARCHAR",
            "Name of the zone; for 57, 104, 105, 264 and 265 as TLC's lookup has it.",
        ),
        Column(
            "borough",
            "VARCHAR",
            "Borough; EWR for Newark Airport; for 264 and 265 as TLC's lookup has it.",
        ),
        Column(
            "service_zone",
            "VARCHAR",
            "Yellow Zone, Boro Zone, Airports, EWR or N/A, as TLC's lookup has it; NULL where "
            "there is no lookup.",
        ),
        Column(
            "geometry",
            "VARCHAR",
            "Shape as WKT, longitude and latitude in degrees (WGS 84); NULL for zones without one.",
        ),
    ),
)

TABLES = (
    *(TRIP_DAYS, TRIPS, GREEN_TRIP_DAYS, GREEN_TRIPS),
    *(FHV_TRIP_DAYS, FHV_TRIPS, FHVHV_TRIP_DAYS, FHVHV_TRIPS),
    ZONES,
)

BOROUGHS = ("Bronx", "Brooklyn", "EWR", "Manhattan", "Queens", "Staten Island")
