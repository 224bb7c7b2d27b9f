"""The parent of a location's runs, see `taxi_shared.warm_runs.parent`."""

import sys

from taxi_shared.warm_runs.parent import main

main(sys.argv[1:])
