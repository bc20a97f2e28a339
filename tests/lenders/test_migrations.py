"""Tables go up and down again, and what is there comes along."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from app.tables import metadata
from models.call import Label
from tests.lenders.conftest import Said, new_database, report

VERSIONS = ["0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0012", "0013"]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    url = f"sqlite:///{tmp_path}/a.db"
    if request.param == "postgresql":
        url = new_database(request.getfixturevalue("postgres")).replace("postgresql://", "postgresql+psycopg://")
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


def migrate(engine: sa.Engine, version: str) -> None:
    config = Config()
    config.set_main_option("script_location", "app:migrations")
    config.set_main_option("path_separator", "os")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        down = version == "base" or version < current(connection)
        (command.downgrade if down else command.upgrade)(config, version)


def current(connection: sa.Connection) -> str:
    if not sa.inspect(connection).has_table("alembic_version"):
        return ""
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar() or ""


def test_every_version_goes_up_and_down_with_a_call_in_it(empty: sa.Engine) -> None:
    migrate(empty, VERSIONS[0])
    now = datetime.now(UTC)
    with empty.begin() as connection:
        calls = sa.Table("calls", sa.MetaData(), autoload_with=connection)
        told = report([Said("不还就打断你的腿", (Label.THREAT,)), Said("打一六三零零一二三四五六")], "0" * 64)
        connection.execute(
            sa.insert(calls).values(
                id="c",
                status="done",
                progress=1.0,
                attempts=1,
                recording_sha256="0" * 64,
                recording_bytes=1,
                media_type="audio/wav",
                details='{"agency": "north"}',
                collector_id="a",
                called_at=now,
                received_at=now,
                report=told.model_dump_json(),
            )
        )
    for version in VERSIONS[1:]:
        migrate(empty, version)
        migrate(empty, VERSIONS[VERSIONS.index(version) - 1])
        migrate(empty, version)
    with empty.connect() as connection:
        found = {name: connection.execute(sa.select(metadata.tables[name])).all() for name in metadata.tables}
    (call,) = found["calls"]
    assert (call.tenant_id, call.agency, call.seconds, call.held_because) == ("default", "north", 8.0, None)
    assert [row.label for row in found["call_verdicts"]] == ["threat"]
    assert [row.text for row in found["utterances"]] == ["不还就打断你的腿", "打***********"]
    assert {row.called_at.astimezone(UTC) for row in found["utterances"]} == {now}
    migrate(empty, "base")
    with empty.connect() as connection:
        assert sa.inspect(connection).get_table_names() == ["alembic_version"]


def test_newest_version_is_what_the_tables_say(empty: sa.Engine) -> None:
    migrate(empty, VERSIONS[-1])
    with empty.connect() as connection:
        inspector = sa.inspect(connection)
        for table in metadata.tables.values():
            columns = {column["name"]: column["nullable"] for column in inspector.get_columns(table.name)}
            expected = {column.name: bool(column.nullable) for column in table.columns}
            assert columns == expected, table.name
            indexes = {index["name"] for index in inspector.get_indexes(table.name)}
            assert {index.name for index in table.indexes} <= indexes, table.name
