"""What runs of this location import late: `taxi_shared.warm_runs` imports it before the first."""

from io import BytesIO

import matplotlib.colors  # noqa: F401
from matplotlib.figure import Figure

import taxi_shared.warm  # noqa: F401

# Imports what a picture needs. A text would open the file of a font, which all runs would share,
# and its position with it.
Figure().savefig(BytesIO(), format="png")
