"""Asset keys and groups: the names by which code locations refer to each other's assets."""

from dagster import AssetKey

TAXI_TRIPS_FILE = AssetKey("taxi_trips_file")
TAXI_TRIPS = AssetKey("taxi_trips")
GREEN_TRIPS_FILE = AssetKey("green_trips_file")
GREEN_TRIPS = AssetKey("green_trips")
FHV_TRIPS_FILE = AssetKey("fhv_trips_file")
FHV_TRIPS = AssetKey("fhv_trips")
FHVHV_TRIPS_FILE = AssetKey("fhvhv_trips_file")
FHVHV_TRIPS = AssetKey("fhvhv_trips")
TAXI_ZONES_FILE = AssetKey("taxi_zones_file")
TAXI_ZONES = AssetKey("taxi_zones")
TRIPS_BY_WEEK = AssetKey("trips_by_week")
MANHATTAN_STATS = AssetKey("manhattan_stats")
MANHATTAN_MAP = AssetKey("manhattan_map")
ADHOC_REQUEST = AssetKey("adhoc_request")
AVAILABLE_DATA = AssetKey("available_data")

RAW_FILES = "raw_files"
INGESTED = "ingested"
METRICS = "metrics"
REQUESTS = "requests"
