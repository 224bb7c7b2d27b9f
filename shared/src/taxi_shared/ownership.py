"""Owner and code of each asset, for its page."""

import sys
from collections.abc import Iterable
from pathlib import Path

import dagster as dg

from taxi_shared import settings


def owned_by(
    team: str, assets: Iterable[dg.AssetsDefinition], package: str | None = None
) -> list[dg.AssetsDefinition]:
    """The assets with their team as owner, and with a link to their code.

    `package` is that of the assets; by default it has the name of the team. A link leads into the
    repository at TAXI_CODE_URL, or to the file on this machine where that is not set.
    """
    owned = [
        asset.map_asset_specs(lambda spec: spec.replace_attributes(owners=[f"team:{team}"]))
        for asset in assets
    ]
    linked = dg.with_source_code_references(owned)
    if url := settings.load().code_url:
        name = package or team
        folder = Path(str(sys.modules[name].__file__)).parent
        linked = dg.link_code_references_to_git(
            linked,
            git_url=url,
            git_branch=settings.load().code_revision,
            file_path_mapping=dg.AnchorBasedFilePathMapping(folder, f"{name}/src/{name}"),
        )
    return [asset for asset in linked if isinstance(asset, dg.AssetsDefinition)]
