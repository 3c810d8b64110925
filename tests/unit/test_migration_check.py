"""The check of migrations goes red for what holds up a running system or breaks the release before, and only then."""

import shutil
from pathlib import Path
from textwrap import indent

import pytest
from alembic.script import ScriptDirectory

from tests.documented import DOCS, blocks
from tests.migration_check import FIRST_RELEASE, ROOT, problems

MIGRATION = '''"""One more."""

import sqlalchemy as sa
from alembic import op
from migrations.concurrently import create_index, drop_index

revision = "one_more"
down_revision = "{newest}"
branch_labels = None
depends_on = None

{more}


def upgrade() -> None:
{upgrade}
'''
NEWEST = str(ScriptDirectory(str(ROOT / "migrations")).get_current_head())
ADD_NOTE = 'op.add_column("bookings", sa.Column("note", sa.Text(), nullable=True))'
PROVEN = 'op.create_check_constraint("has_note", "bookings", "note IS NOT NULL", postgresql_not_valid=True)'


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    return shutil.copytree(ROOT / "migrations", tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))


def found(migrations: Path, upgrade: str, more: str = "") -> set[str]:
    """The rules that a migration breaks which does this after all that there are."""
    added = MIGRATION.format(newest=NEWEST, upgrade=indent(upgrade, "    "), more=more)
    (migrations / "versions" / "one_more.py").write_text(added)
    return {problem.split(": ")[1] for problem in problems(migrations, since=NEWEST)}


@pytest.mark.parametrize(
    ("upgrade", "rule"),
    [
        pytest.param(
            'op.add_column("bookings", sa.Column("price", sa.BigInteger(), nullable=False))',
            "adding-required-field",
            id="a column that has to be given",
        ),
        pytest.param(
            'op.add_column("bookings", sa.Column("token", sa.Uuid(), server_default=sa.text("gen_random_uuid()")))',
            "adding-field-with-default",
            id="a column for which the table is written anew",
        ),
        pytest.param(
            'op.alter_column("bookings", "notes", nullable=False)', "adding-not-nullable-field", id="not null"
        ),
        pytest.param(
            'op.create_index("ix_events_actor", "workflow_events", ["actor"])',
            "require-concurrent-index-creation",
            id="an index that keeps everybody from writing",
        ),
        pytest.param(
            'op.drop_index("ix_bookings_held", table_name="bookings")',
            "require-concurrent-index-deletion",
            id="an index removed while everybody waits",
        ),
        pytest.param(
            'op.alter_column("slots", "status", type_=sa.Integer())', "changing-column-type", id="another type"
        ),
        pytest.param('op.drop_column("bookings", "notes")', "ban-drop-column", id="a column that is gone"),
        pytest.param(
            'op.alter_column("bookings", "notes", new_column_name="note")', "renaming-column", id="a column renamed"
        ),
        pytest.param('op.rename_table("bookings", "reservations")', "renaming-table", id="a table renamed"),
        pytest.param('op.drop_table("booking_answers")', "ban-drop-table", id="a table that is gone"),
        pytest.param(
            'op.create_check_constraint("short", "bookings", "length(notes) < 9")',
            "constraint-missing-not-valid",
            id="a check of all rows",
        ),
        pytest.param(
            'op.create_foreign_key("fk_x", "bookings", "users", ["cancelled_by"], ["id"])',
            "adding-foreign-key-constraint",
            id="a foreign key of all rows",
        ),
        pytest.param(
            'op.create_unique_constraint("uq_x", "bookings", ["notes"])',
            "disallowed-unique-constraint",
            id="a unique constraint",
        ),
        pytest.param(PROVEN, "ban-new-write-restriction", id="a check that refuses what the release before writes"),
        pytest.param(
            'op.execute("CREATE INDEX CONCURRENTLY ix_x ON bookings (notes)")',
            "ban-concurrent-index-creation-in-transaction",
            id="concurrently in a transaction",
        ),
        pytest.param(
            f'{ADD_NOTE}\ncreate_index("ix_bookings_note", "bookings", ["note"])',
            "prefer-robust-stmts",
            id="what cannot be repeated beside an index",
        ),
    ],
)
def test_finds(migrations: Path, upgrade: str, rule: str) -> None:
    assert rule in found(migrations, upgrade)


@pytest.mark.parametrize(
    "upgrade",
    [
        pytest.param(ADD_NOTE, id="a column that need not be given"),
        pytest.param(
            'op.add_column("bookings", sa.Column("seats", sa.BigInteger(), server_default="1", nullable=False))',
            id="a column with a constant default",
        ),
        pytest.param('create_index("ix_events_actor", "workflow_events", ["actor"])', id="an index made concurrently"),
        pytest.param('drop_index("ix_bookings_held", "bookings")', id="an index removed concurrently"),
        pytest.param(
            'op.execute("ALTER TABLE bookings VALIDATE CONSTRAINT has_note")', id="a check of rows that are in use"
        ),
        pytest.param(
            'op.create_table("seats", sa.Column("id", sa.Uuid(), primary_key=True), sa.Column("row", sa.Text()),'
            ' sa.ForeignKeyConstraint(["id"], ["bookings.id"]), sa.CheckConstraint("row > \'\'"))\n'
            'op.create_index("ix_seats_row", "seats", ["row"], unique=True)',
            id="a new table with all that it has",
        ),
    ],
)
def test_finds_nothing_in(migrations: Path, upgrade: str) -> None:
    assert found(migrations, upgrade) == set()


def test_what_is_deliberate_has_its_reason(migrations: Path) -> None:
    drop = 'op.drop_column("bookings", "notes")'
    assert found(migrations, drop, 'deliberate = {"ban-drop-column": "Nothing reads it since 0.2."}') == set()
    assert found(migrations, drop, 'deliberate = {"ban-drop-column": " "}') == {
        "ban-drop-column is broken without a reason"
    }
    assert found(migrations, ADD_NOTE, 'deliberate = {"ban-drop-column": "Nothing reads it."}') == {
        "ban-drop-column is called deliberate, and is not broken"
    }


def test_the_forms_that_the_page_shows(migrations: Path) -> None:
    """docs/rolling-deploys.md: an index of its own, what is deliberate, and what is said of what is neither."""
    concurrently, said, deliberate = (block.text for block in blocks(DOCS / "rolling-deploys.md"))
    (migrations / "versions" / "one_more.py").write_text(f'''"""One more."""

revision, down_revision, branch_labels, depends_on = "one_more", "{NEWEST}", None, None

{concurrently}''')
    assert problems(migrations, since=NEWEST) == []
    assert found(migrations, 'op.drop_column("bookings", "notes")', deliberate) == set()
    prices = 'op.add_column("bookings", sa.Column("price", sa.BigInteger(), nullable=False))'
    found(migrations, f'{prices}\nop.create_index("ix_bookings_price", "bookings", ["price"])')
    lines = [line.replace("one_more", "2026_12_07_prices") for line in problems(migrations, since=NEWEST)]
    assert said.splitlines() == ["$ make check", *lines]


def test_what_was_there_at_the_first_release_is_not_judged(migrations: Path) -> None:
    older = problems(migrations, since="2026_12_01_withdrawn_slots")
    assert {problem.split(": ")[0] for problem in older} == {"2026_12_02_sign_outs", FIRST_RELEASE}


def test_what_squawk_cannot_read_is_a_problem(migrations: Path) -> None:
    assert "syntax-error" in found(migrations, 'op.execute("ALTER TABLE TO WHAT")')
