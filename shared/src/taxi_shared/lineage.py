"""Column lineage: from which columns of other assets each column of a table comes."""

from collections.abc import Iterable, Mapping

import dagster as dg

Origin = tuple[dg.AssetKey, str]


def column_lineage(origins: Mapping[str, Iterable[Origin]]) -> dg.TableColumnLineage:
    """Describe columns by the columns they come from; a count of rows comes from none."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key=asset, column_name=name) for asset, name in found]
            for column, found in origins.items()
        }
    )
