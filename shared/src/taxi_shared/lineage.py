"""Column lineage: from which columns of other assets each column of a table comes."""

from collections.abc import Iterable, Mapping

import dagster as dg

Origin = tuple[dg.AssetKey, str]


def column_lineage(origins: Mapping[str, Iterable[Origin]]) -> dg.TableColumnLineage:
    """Columns with the columns that they come from; one that comes from rows as such has none."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key=asset, column_name=name) for asset, name in found]
            for column, found in origins.items()
        }
    )
