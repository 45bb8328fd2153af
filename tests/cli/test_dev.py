"""`engage dev`: what it refuses before it starts anything."""

import socket
from pathlib import Path

import pytest

from engage_pipelines.cli.dev import check_free, start
from engage_pipelines.domain.errors import StateError


def test_a_taken_port_is_refused_in_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StateError, match=rf"Port {port} of 127.0.0.1 is taken\. .*--port"):
            check_free("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused_in_words() -> None:
    with pytest.raises(StateError, match=r"Nothing can listen on port 3000 of 203\.0\.113\.1"):
        check_free("203.0.113.1", 3000)


def test_a_folder_that_is_not_the_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"holds no dagster\.yaml"):
        start(tmp_path, "http://127.0.0.1:3000", [], console_url="http://127.0.0.1:4000")
