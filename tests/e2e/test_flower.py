"""Flower, which can run tasks, lets in only whoever has its login, wherever it is started by hand."""

from pathlib import Path

import httpx
import pytest

from tests.e2e.nodes import StartNode
from tests.waiting import wait_until
from zea.stack import processes
from zea.stack.ports import LOOPBACK, free_port

ROOT = Path(__file__).parents[2]


def test_started_in_another_place_it_asks_for_its_login_and_listens_on_this_machine_only(
    start_node: StartNode, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment["PYTHONPATH"] = str(ROOT)
    port = free_port()
    node = start_node(processes.flower(port, "zea:flower-password", environment), "")
    wait_until(lambda: node.status == "exited" or _status(port, "/healthcheck") == 200, 30, "Flower to answer")
    assert _status(port, "/workers") == 401
    assert _status(port, "/workers", auth=("zea", "flower-password")) == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.2:{port}/healthcheck")


def _status(port: int, path: str, auth: tuple[str, str] | None = None) -> int:
    """0 while it does not answer."""
    try:
        return httpx.get(f"http://{LOOPBACK}:{port}{path}", auth=auth).status_code
    except httpx.TransportError:
        return 0
