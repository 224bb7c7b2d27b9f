"""Versions of code and data, by which Dagster decides which assets are stale, and why."""

import ast
import inspect
import re
from collections.abc import Mapping, Set
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import dagster as dg

# Tags of a materialization that Dagster reads; it exports no names for them.
DATA_VERSION = "dagster/data_version"
_DATA_VERSION_IS_GIVEN = "dagster/data_version_is_user_provided"
_CODE_VERSION = "dagster/code_version"
_INPUT_DATA_VERSION = "dagster/input_data_version"
_INPUT_EVENT = "dagster/input_event_pointer"
RECORDS_PER_QUERY = 1000


def code_version(*parts: ModuleType | str) -> str:
    """Hash what an asset's content depends on: modules, source of functions (`source_of`), SQL.

    Comments, docstrings and layout do not count.
    """
    texts = [
        _python(inspect.getsource(part)) if isinstance(part, ModuleType) else _sql(part)
        for part in parts
    ]
    return _hash("\n".join(texts))


def source_of(file: str, *names: str) -> str:
    """Return the source of functions and constants of a Python file, for `code_version`.

    Decorators do not count: they say where an asset belongs, not what is in it. Raises ValueError
    for a name that the file does not define.
    """
    found: dict[str, ast.stmt] = {}
    for node in ast.parse(Path(file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            node.decorator_list.clear()
            found[node.name] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"{file} has no {', '.join(missing)}")
    return "\n".join(_python(ast.unparse(found[name])) for name in names)


def data_version(content: bytes | str) -> dg.DataVersion:
    """Hash content: equal content has an equal version."""
    return dg.DataVersion(_hash(content))


def materialization_tags(
    context: dg.AssetExecutionContext, asset: dg.AssetKey, partition: str, version: str
) -> Mapping[str, str]:
    """Return the tags of a materialization that a step logs itself.

    They hold the version of the data, that of the code, and the versions of the upstream assets, in
    the same partition, that it was made from.
    """
    code = context.assets_def.code_versions_by_key.get(asset)
    result = {DATA_VERSION: version, _DATA_VERSION_IS_GIVEN: "true", _CODE_VERSION: code or ""}
    for key in context.assets_def.asset_deps[asset]:
        latest = context.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition]), limit=1
        ).records
        name = key.to_user_string()
        found = latest[0].asset_materialization if latest else None
        given = (found.tags or {}).get(DATA_VERSION) if found else None
        result[f"{_INPUT_DATA_VERSION}/{name}"] = given or "INITIAL"
        result[f"{_INPUT_EVENT}/{name}"] = str(latest[0].storage_id) if latest else "NULL"
    return result


def input_versions(
    instance: dg.DagsterInstance, asset: dg.AssetKey, upstream: dg.AssetKey, partitions: Set[str]
) -> Mapping[str, str]:
    """Return the version of an upstream asset that each partition of an asset was last made from.

    Partitions whose materialization has no such tag (see `materialization_tags`) are left out.
    """
    found: dict[str, str | None] = {}
    while missing := sorted(partitions - found.keys()):
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=asset, asset_partitions=missing),
            limit=RECORDS_PER_QUERY,
        ).records  # newest first
        for record in records:
            made = record.asset_materialization
            if made and made.partition:
                name = f"{_INPUT_DATA_VERSION}/{upstream.to_user_string()}"
                found.setdefault(made.partition, (made.tags or {}).get(name))
        if not records:
            break
    return {partition: version for partition, version in found.items() if version}


def _python(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


# A string or a name in quotes is one word, whatever it contains; a comment is none.
_SQL_WORD = re.compile(
    r"""--[^\n]*|/\*.*?\*/|((?:'(?:[^']|'')*'|"(?:[^"]|"")*"|(?!--|/\*)[^\s'"])+)""", re.DOTALL
)


def _sql(text: str) -> str:
    return " ".join(word for word in _SQL_WORD.findall(text) if word)


def _hash(content: bytes | str) -> str:
    return sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]
