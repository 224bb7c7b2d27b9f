"""A version changes with what an asset's content depends on, and with nothing else."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from taxi_shared.versions import code_version, data_version, source_of

FUNCTION = '''
@asset(owners=["one"])
def figures(rows):
    """All of them."""
    # One by one.
    return sum(rows)

def other():
    return 1
'''


def module(file: Path, source: str) -> ModuleType:
    """Import a module of that source."""
    file.write_text(source)
    spec = spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    found = module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(
    ("query", "same"),
    [
        ("-- One row per zone.\nSELECT a,\n       b\nFROM trips", True),
        ("SELECT a, b FROM trips WHERE a > 0", False),
    ],
)
def test_comments_and_layout_of_sql_do_not_count(query: str, same: bool) -> None:
    assert (code_version(query) == code_version("SELECT a, b FROM trips")) == same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("SELECT 'a  b'", "SELECT 'a b'", False),
        ("SELECT '--x'", "SELECT '--y'", False),
        ('SELECT "a--b"', 'SELECT "a--c"', False),
        ("SELECT 'it''s  -- so'", "SELECT 'it''s -- so'", False),
        ("SELECT 'a' -- it's\nFROM t", "SELECT 'a'\n\nFROM t", True),
        ("SELECT a /* one\n 'two */ FROM t", "SELECT a FROM t", True),
        ("SELECT a /* one */ FROM t", "SELECT a / * FROM t", False),
    ],
)
def test_quoted_text_counts_as_it_is(one: str, other: str, same: bool) -> None:
    assert (code_version(one) == code_version(other)) == same


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ('"""Docs."""\nLIMIT = 3  # miles\n\ndef f(x):\n    """Docs."""\n    return (x)\n', True),
        ("LIMIT = 4\ndef f(x):\n    return x\n", False),
        ("LIMIT = 3\ndef f(x):\n    return -x\n", False),
    ],
)
def test_comments_and_docstrings_do_not_count(tmp_path: Path, source: str, same: bool) -> None:
    plain = module(tmp_path / "plain.py", "LIMIT = 3\ndef f(x):\n    return x\n")
    other = module(tmp_path / "other.py", source)
    assert (code_version(other) == code_version(plain)) == same


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('owners=["one"]', 'owners=["two"]', True),
        ("All of them.", "Every one.", True),
        ("return 1", "return 2", True),
        ("sum(rows)", "max(rows)", False),
    ],
)
def test_decorators_and_other_functions_do_not_count(
    tmp_path: Path, old: str, new: str, same: bool
) -> None:
    before, after = tmp_path / "before.py", tmp_path / "after.py"
    before.write_text(FUNCTION)
    after.write_text(FUNCTION.replace(old, new))
    versions = [code_version(source_of(str(file), "figures")) for file in (before, after)]
    assert (versions[0] == versions[1]) == same


def test_missing_function_is_named(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(FUNCTION)
    with pytest.raises(ValueError, match=r"module\.py has no totals"):
        source_of(str(file), "totals")


def test_equal_content_has_an_equal_version() -> None:
    assert data_version("a") == data_version(b"a") != data_version("b")


def test_constants_count_by_name(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text('BOROUGH = "Manhattan"\nOTHER: int = 1\n')
    before = code_version(source_of(str(file), "BOROUGH", "OTHER"))
    file.write_text('# Of five.\nTITLE = "Trips"\nBOROUGH = "Manhattan"\nOTHER: int = 1\n')
    assert code_version(source_of(str(file), "BOROUGH", "OTHER")) == before
    file.write_text('BOROUGH = "Bronx"\nOTHER: int = 1\n')
    assert code_version(source_of(str(file), "BOROUGH", "OTHER")) != before
