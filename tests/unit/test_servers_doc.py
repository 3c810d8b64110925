"""What docs/servers.md has people tell PgBouncer is what the tests tell theirs."""

from configparser import ConfigParser

from tests.documented import DOCS, blocks
from tests.other_servers import POOLER_CONFIGURATION

OF_THE_PLACE = {"auth_file"}


def pooler(text: str) -> dict[str, str]:
    parser = ConfigParser(interpolation=None)
    parser.read_string(text)
    return dict(parser["pgbouncer"])


def test_the_pooler_that_is_shown_is_the_one_that_is_tried() -> None:
    (shown,) = [pooler(block.text) for block in blocks(DOCS / "servers.md") if block.language == "ini"]
    tried = pooler(POOLER_CONFIGURATION)
    assert shown["pool_mode"] == "transaction"
    assert {name: tried.get(name) for name in shown if name not in OF_THE_PLACE} == {
        name: value for name, value in shown.items() if name not in OF_THE_PLACE
    }
