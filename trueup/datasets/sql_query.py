"""The result of a SQL query as a data set.

Rows stream from a cursor of the server's into Parquet files in a folder of the caller's, some ten
thousand at a time, so the result is never in memory as a whole; what reads Parquet files reads the
rest: types that differ between the parts are unified.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trueup.datasets.columns import coerce, leaf_type
from trueup.datasets.json_values import array_of
from trueup.datasets.nested import quoted
from trueup.datasets.open import open_dataset
from trueup.datasets.parts import UnitDataset
from trueup.errors import BadInputError, DataError, UnsupportedError

ROWS_AT_ONCE = 1 << 14

_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
"""Drivers that are taken where the URL names none."""

Progress = Callable[[int], None]
"""Called with the rows that were read so far; how many there are nobody knows."""


def query_dataset(
    url: str, query: str, folder: Path, *, progress: Progress | None = None
) -> UnitDataset:
    """The rows that ``query`` gives.

    :param folder: an empty one, in which they are kept as long as the data set is used.
    :param url: of SQLAlchemy, such as ``postgresql://USER:PASSWORD@HOST/DATABASE``.
    :raises BadInputError: when ``url`` is none, or the query fails; no message shows a password.
    :raises DataError: when it gives no rows, or two columns of one name.
    """
    found = 0
    with _result(url, query) as (columns, rows, where):
        _check_names(columns, where)
        for number, part in enumerate(rows):
            values = list(zip(*part, strict=True))
            table = pa.table([_array(each) for each in values], names=list(columns))
            pq.write_table(table, folder / f"part-{number:06d}.parquet", compression="zstd")
            found += len(part)
            if progress is not None:
                progress(found)
    if not found:
        raise DataError(f"the query gives no rows from {where}", remedy="check its conditions")
    return open_dataset(folder, name=f"a query of {where}")


def _array(values: Sequence[Any]) -> pa.Array:
    array, _ = array_of(values)
    return coerce(array, leaf_type(array.type))


def _check_names(columns: Sequence[str], where: str) -> None:
    twice = next((name for name in columns if list(columns).count(name) > 1), None)
    if twice is not None:
        raise DataError(
            f"the query gives two columns {quoted(twice)} from {where}",
            remedy="name them apart by AS",
        )


@contextmanager
def _result(url: str, query: str) -> Iterator[tuple[list[str], Iterator[Sequence[Any]], str]]:
    """Columns, rows in parts, and the database without its password."""
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise BadInputError(
            "the source of a query must be a database URL",
            remedy="give sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE",
        ) from error
    where = _shown(parsed)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise BadInputError(f"{where} is no database file", remedy="check the path")
    try:
        engine = create_engine(
            parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
        )
    except (ImportError, NoSuchModuleError) as error:
        raise UnsupportedError(
            f"{where} needs a database driver that is not installed: {error}",
            remedy="install it beside Trueup (for PostgreSQL: pip install 'trueup[postgresql]')",
        ) from error
    try:
        with engine.connect() as plain:
            # A statement as it stands: "%" and ":" in it are no parameters.
            options = {
                "stream_results": True,
                "max_row_buffer": ROWS_AT_ONCE,
                "no_parameters": True,
            }
            if parsed.get_backend_name() == "postgresql":
                options["postgresql_readonly"] = True
            result = plain.execution_options(**options).exec_driver_sql(query)
            if not result.returns_rows:
                raise BadInputError("the query gives no rows: it is no SELECT")
            yield list(result.keys()), result.partitions(ROWS_AT_ONCE), where
    except SQLAlchemyError as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        what = " ".join(str(cause).split())[:300]
        raise BadInputError(f"the query of {where} failed: {what}") from error
    finally:
        engine.dispose()


def _shown(url: Any) -> str:
    text = url.render_as_string(hide_password=True)
    return re.sub(r"((?:password|passfile|sslpassword)=)[^&]*", r"\1***", text)
