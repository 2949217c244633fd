"""The command line against a small real server: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jupyterhub_binder.cli import main
from jupyterhub_binder.cli.doctor import _check_kernel, _check_major
from tests.kit.cli_server import TOKEN, Service, serving


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with serving(service) as url:
        service.url = url
        yield service


@pytest.fixture
def run(service: Service, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JUPYTERHUB_BINDER_HUB", service.url)
    monkeypatch.setenv("JUPYTERHUB_BINDER_TOKEN", TOKEN)

    def run(*args: str, **kw) -> Result:
        return CliRunner().invoke(main, args, **kw)

    return run


def test_build_prints_the_new_environments_id_alone_on_standard_output(run) -> None:
    done = run("build", "https://example.org/daylight", "--wait")
    assert done.exit_code == 0
    assert done.stdout == "eeeeeeeee2\n"
    assert "Installing astral" in done.stderr


def test_build_of_what_one_keeps_already_builds_that_one_again(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "failed")
    done = run("build", "https://example.org/daylight")
    assert done.stdout == "eeeeeeeee3\n"
    assert "You already have this as daylight. Use --new to create another." in done.stderr
    assert (service.rebuilt, service.sent) == (["eeeeeeeee3"], [])
    assert run("build", "https://example.org/daylight", "--name", "daylight").exit_code == 0
    assert service.rebuilt == ["eeeeeeeee3"] * 2
    assert "keep this already" not in run("build", "https://example.org/other").stderr


def test_build_of_what_one_keeps_says_how_to_open_what_the_link_opens(
    run, service: Service
) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    service.path_of_links = "a b.ipynb"
    said = run("build", "https://example.org/daylight").stderr
    assert "jupyterhub-binder launch eeeeeeeee3 --path 'a b.ipynb'\n" in said
    service.environments["eeeeeeeee3"]["path"] = "a b.ipynb"
    assert "--path" not in run("build", "https://example.org/daylight").stderr


@pytest.mark.parametrize("option", [["--new"], ["--path", "a.ipynb"], ["--content", "sync"]])
def test_second_environment_of_a_repository_has_a_name_of_its_own(
    run, service: Service, option: list[str]
) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    service.add("eeeeeeeee4", "daylight 2", "bbbbbbbbb4", "built")
    done = run("build", "https://example.org/daylight", *option)
    assert done.stdout == "eeeeeeeee2\n"
    assert service.sent[0]["name"] == "daylight 3"
    assert run("logs", "daylight 3").exit_code == 0


def test_repository_of_the_same_name_at_another_place_gets_a_number(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    assert run("build", "https://elsewhere.example.org/daylight").exit_code == 0
    assert service.sent[0]["name"] == "daylight 2"
    assert run("build", "https://e.org/daylight", "--again", "--new").exit_code == 2


@pytest.mark.parametrize("repository", ["kept", "shared"])
def test_build_with_nothing_to_build_says_so_in_a_line(
    run, service: Service, repository: str
) -> None:
    service.add("eeeeeeeee3", "kept", "bbbbbbbbb3", "built")
    done = run("build", f"https://example.org/{repository}", "--wait")
    assert done.exit_code == 0
    assert done.stderr.endswith("\nAlready built, nothing to do.\n")
    assert "astral" not in done.stderr
    again = run("build", "kept", "--again", "--wait")
    assert "Already built, nothing to do." in again.stderr


def test_build_sends_what_was_said_of_the_files_and_nothing_else(run, service: Service) -> None:
    link = "https://mybinder.org/v2/gh/org/env/main?urlpath=git-pull%3Frepo%3Dhttps://e.org/course"
    assert run("build", link).exit_code == 0
    options = ("--content", "sync", "--content-url", "https://example.org/course")
    options += ("--content-ref", "2026", "--path", "week1/intro.ipynb", "--name", "Course")
    assert run("build", "org/env", *options).exit_code == 0
    assert run("build", "org/env", "--path", "/rstudio", "--content", "leave").exit_code == 0
    assert service.sent == [
        {"url": link},
        {
            "url": "org/env",
            "content": "sync",
            "content_url": "https://example.org/course",
            "content_ref": "2026",
            "path": "week1/intro.ipynb",
            "name": "Course",
        },
        {"url": "org/env", "path": "/rstudio", "content": "leave"},
    ]
    done = run("build", "org/env", "--content", "keep")
    assert done.exit_code == 2
    assert "'copy', 'sync', 'leave'" in done.stderr
    assert len(service.sent) == 3


def test_launch_sends_what_opens(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    assert run("launch", "daylight", "--path", "/rstudio").exit_code == 0
    assert run("launch", "daylight", "--path", "a.ipynb", "--server-name", "two").exit_code == 0
    assert run("launch", "daylight").exit_code == 0
    assert [body.get("path") for body in service.sent] == ["/rstudio", "a.ipynb", None]
    assert service.sent[1]["server_name"] == "two"


def test_failed_build_exits_with_1_and_the_reason(run) -> None:
    done = run("build", "https://example.org/broken", "--wait")
    assert done.exit_code == 1
    assert "There is no package nosuch." in done.stderr


def test_cancelled_build_exits_with_6(run) -> None:
    assert run("build", "https://example.org/stopped", "--wait").exit_code == 6


def test_refused_link_exits_with_1_and_the_services_sentence(run) -> None:
    done = run("build", "no repository")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "That is no repository." in done.stderr


def test_errors_are_json_where_json_was_asked_for(run) -> None:
    done = run("build", "no repository", "--json")
    assert json.loads(done.stderr)["error"]["code"] == "not_understood"


def test_log_keeps_colours_out_of_pipes_and_escape_sequences_out_of_everything(
    run, service: Service
) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    done = run("logs", "daylight")
    assert done.stdout == "Installing astral\ndone\n"


def test_log_goes_on_after_a_dropped_connection_without_losing_or_repeating_a_line(
    run, service: Service
) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    service.lines = [f"line {n}" for n in range(1, 6)]
    service.drop_after = 2
    done = run("logs", "-f", "bbbbbbbbb3")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == service.lines
    assert service.last_event_ids == [None, "2"]


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_followed_log_outlasts_what_a_proxy_in_between_answers(
    run, service: Service, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("jupyterhub_binder.utils.retry.random.uniform", lambda *_: 0.001)
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    service.lines = ["one", "two"]
    service.in_between = [status]
    done = run("logs", "-f", "bbbbbbbbb3")
    assert (done.exit_code, done.stdout.splitlines()) == (0, ["one", "two"])


def test_followed_log_exits_as_the_build_does(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "failed")
    assert run("logs", "-f", "daylight").exit_code == 1
    assert run("logs", "daylight").exit_code == 0


def test_log_as_json_is_an_object_a_line(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    lines = [json.loads(line) for line in run("logs", "daylight", "--json").stdout.splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3]


def test_list_into_a_pipe_is_tab_separated_and_harmless(run, service: Service) -> None:
    service.add("eeeeeeeee3", "day\x1b[31m\tlight\u202e", None, "unbuilt")
    done = run("list")
    url = "https://example.org/daylight"
    fields = ["eeeeeeeee3", "daylight", "unbuilt", url, "main", "", ""]
    assert [f.replace(" ", "") for f in done.stdout.rstrip("\n").split("\t")] == fields


def test_list_as_json_is_what_the_service_said(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", None, "unbuilt")
    assert json.loads(run("list", "--json").stdout)[0]["id"] == "eeeeeeeee3"


def test_list_says_what_runs(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    service.add("eeeeeeeee4", "nightfall", "bbbbbbbbb4", "built")
    service.add_server("eeeeeeeee3", "")
    lines = run("list").stdout.splitlines()
    assert [line.split("\t")[5] for line in lines] == ["running", ""]
    listed = json.loads(run("list", "--json").stdout)
    assert [len(each["servers"]) for each in listed] == [1, 0]


def test_what_is_newer_is_listed_and_shown(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    summary = "3 new commits · only files changed, no build needed"
    hold = {"code": "rollback", "message": "Updates are paused because you chose build 1."}
    more = {"newer": {"summary": summary}, "updates": "auto", "hold": hold}
    service.environments["eeeeeeeee3"].update(more)
    assert run("list").stdout.rstrip("\n").split("\t")[6] == summary
    shown = run("show", "daylight").stdout.splitlines()
    assert f"newer\t{summary}" in shown
    assert "updates\tautomatic" in shown
    assert f"paused\t{hold['message']}" in shown


def test_list_of_a_narrow_terminal_shows_what_runs_and_the_repositorys_end(
    service: Service,
) -> None:
    label = "github.com/an-organisation-of-some-length/introduction-to-data"
    service.add("eeeeeeeee3", "data", "bbbbbbbbb3", "built")
    service.environments["eeeeeeeee3"]["label"] = label
    service.add_server("eeeeeeeee3", "")
    env = {**os.environ, "JUPYTERHUB_BINDER_TOKEN": TOKEN, "COLUMNS": "80", "TERM": "xterm"}
    command = [sys.executable, "-m", "jupyterhub_binder", "list", "--hub", service.url]
    shown = re.sub(r"\x1b\[[0-9;]*m", "", _on_terminal(command, env))
    [line] = [line for line in shown.splitlines() if "eeeeeeeee3" in line]
    assert len(line) <= 80
    assert re.search(r"github\.com/\S*…\S*ction-to-data +main +Running +eeeeeeeee3", line), shown


def test_list_has_all_however_many_pages_the_service_makes(run, service: Service) -> None:
    for number in range(431):
        service.add(f"e{number:09}", f"course {number}", None, "unbuilt")
    assert len(run("list").stdout.splitlines()) == 431
    assert run("launch", "course 430").exit_code == 0


def test_show_says_what_an_environment_is_and_what_runs_in_it(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    service.add_server("eeeeeeeee3", "second")
    lines = [line.split("\t") for line in run("show", "daylight").stdout.splitlines()]
    facts = {name: values[0] for name, *values in lines}
    assert facts["repository"] == "https://example.org/daylight"
    assert facts["files"] == "~/daylight, copied once"
    assert facts["server"] == f"{service.url}user/ada/second/"
    assert ["server", facts["server"], "Running · second"] in lines
    assert facts["page"].endswith("/environments/eeeeeeeee3")
    shown = json.loads(run("show", "daylight", "--json").stdout)
    assert (shown["id"], shown["servers"][0]["name"]) == ("eeeeeeeee3", "second")


@pytest.mark.parametrize(
    ("state", "status", "said"),
    [
        ("failed", "ready", "Ready"),
        ("building", "ready", "Ready, Building"),
        ("cancelled", "unbuilt", "Not built yet"),
        ("queued", "queued", "Queued"),
        ("new-state", "new-status", "new-status"),
    ],
)
def test_state_is_said_as_the_pages_say_it(
    run, service: Service, state: str, status: str, said: str
) -> None:
    service.add("eeeeeeeee3", "daylight", None, "unbuilt")
    service.environments["eeeeeeeee3"] |= {"state": state, "status": status}
    assert f"state\t{said}\n" in run("show", "daylight").stdout


def test_server_says_in_which_build_it_runs_and_the_default_branch_has_its_name(
    run, service: Service
) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    service.environments["eeeeeeeee3"] |= {"ref": "HEAD", "default_branch": "trunk"}
    service.add_server("eeeeeeeee3", "")
    service.servers[0] |= {"build_number": 2, "outdated": True}
    shown = run("show", "daylight").stdout
    assert "user/ada//\tRunning in build 2\n" in shown
    assert "ref\ttrunk\n" in shown


def test_show_says_why_a_build_failed(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "failed")
    assert "reason\tThere is no package nosuch.\n" in run("show", "eeeeeeeee3").stdout


def test_edit_sends_only_what_was_said(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", None, "unbuilt")
    done = run("edit", "daylight", "--name", "Spring course", "--path", "")
    assert (done.exit_code, done.stdout) == (0, "Saved: Spring course.\n")
    assert service.environments["eeeeeeeee3"]["path"] == ""
    assert service.environments["eeeeeeeee3"]["content"] == "copy"
    assert run("edit", "eeeeeeeee3").exit_code == 2


def test_edit_pins_without_changing_anything_else(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", None, "unbuilt")
    assert run("edit", "daylight", "--pin").stdout == "Saved: daylight.\n"
    assert service.preferences == {"eeeeeeeee3": {"pinned": True}}
    assert run("edit", "daylight", "--unpin", "--name", "dusk").stdout == "Saved: dusk.\n"
    assert service.preferences == {"eeeeeeeee3": {"pinned": False}}


def test_edit_sets_what_a_launch_opens_and_its_profile(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    profile = ("--profile", "large", "--profile-option", "memory=16")
    assert run("edit", "daylight", "--open-in", "vs code", *profile).exit_code == 0
    chosen = {"profile": "large", "profile_options": {"memory": "16"}}
    assert service.preferences == {"eeeeeeeee3": {"opens": "/vscode", **chosen}}
    assert run("launch", "daylight").exit_code == 0
    assert run("launch", "daylight", "--path", "a.ipynb", "--profile", "").exit_code == 0
    assert service.sent == [
        {"path": "/vscode"},
        {"path": "a.ipynb", "profile": "", "profile_options": {}},
    ]
    assert "There is: JupyterLab, RStudio" in run("edit", "daylight", "--open-in", "emacs").stderr
    assert run("launch", "daylight", "--profile-option", "memory=16").exit_code == 2
    assert run("edit", "daylight", "--profile", "x", "--profile-option", "y").exit_code == 2


def test_content_options_reach_the_service(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", None, "unbuilt")
    content = ("--content", "sync", "--content-url", "org/course", "--content-ref", "v2")
    assert run("edit", "daylight", *content, "--json").exit_code == 0
    kept = service.environments["eeeeeeeee3"]
    assert (kept["content"], kept["content_url"], kept["content_ref"]) == content[1::2]
    assert "kept updated from org/course at v2" in run("show", "daylight").stdout


def test_delete_asks_first_and_says_how_to_undo_it(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", None, "unbuilt")
    kept = run("delete", "daylight", input="n\n")
    assert (kept.exit_code, kept.stdout) == (1, "")
    assert "Nothing was deleted." in kept.stderr
    assert run("delete", "daylight", input="").exit_code == 1
    assert service.environments["eeeeeeeee3"]["deleted"] is None
    done = run("delete", "daylight", input="y\n")
    assert (done.exit_code, done.stdout) == (0, "Deleted: daylight.\n")
    assert "jupyterhub-binder restore eeeeeeeee3" in done.stderr


@pytest.mark.parametrize("which", ["daylight", "eeeeeeeee3"])
def test_deleted_environment_is_listed_and_comes_back(run, service: Service, which: str) -> None:
    service.add("eeeeeeeee3", "daylight", None, "unbuilt")
    assert json.loads(run("delete", "daylight", "--yes", "--json").stdout)["deleted"]
    assert "daylight" not in run("list").stdout
    assert "daylight" in run("list", "--deleted").stdout
    assert run("restore", which).stdout == "Restored: daylight.\n"
    assert "daylight" in run("list").stdout
    assert run("restore", which).exit_code == 5


def test_stop_names_the_servers_that_end(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", None, "unbuilt")
    service.add_server("eeeeeeeee3", "second")
    assert run("stop", "daylight").stdout == "Stopped: “second”.\n"
    assert run("stop", "daylight").stdout == "You have no server running in daylight.\n"
    assert run("stop", "daylight", "--json").stdout == "[]\n"


def test_launch_prints_the_servers_address(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    done = run("launch", "daylight")
    assert done.exit_code == 0
    assert done.stdout.strip() == f"{service.url}user/ada/lab/tree/x.ipynb"


def test_failed_launch_exits_with_1_and_the_reason(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    service.launch_state = "failed"
    done = run("launch", "daylight")
    assert done.exit_code == 1
    assert "The server fell over." in done.stderr


def test_unknown_environment_exits_with_5(run) -> None:
    assert run("launch", "nothing").exit_code == 5
    assert run("cancel", "eeeeeeeee9").exit_code == 5


def test_name_that_two_environments_have_is_refused_with_their_ids(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", None, "unbuilt")
    service.add("eeeeeeeee4", "daylight", None, "unbuilt")
    done = run("launch", "daylight")
    assert done.exit_code == 2
    assert "eeeeeeeee3" in done.stderr
    assert "eeeeeeeee4" in done.stderr


def test_cancel_says_so(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "building")
    assert run("cancel", "daylight").stdout == "Cancelled.\n"


def test_wrong_token_exits_with_4(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_BINDER_TOKEN", "wrong")
    done = run("list")
    assert done.exit_code == 4
    assert "Create a new one on the hub's Token page" in done.stderr


def test_missing_hub_is_named_with_its_variable(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTERHUB_BINDER_HUB")
    done = run("list")
    assert done.exit_code == 2
    assert "JUPYTERHUB_BINDER_HUB" in done.stderr


def test_cancel_of_an_ended_build_says_that_it_has_ended(run, service: Service) -> None:
    service.add("eeeeeeeee3", "daylight", "bbbbbbbbb3", "built")
    assert "already ended: built" in run("cancel", "daylight").stdout


def test_hub_that_is_not_there_exits_with_3(run) -> None:
    done = run("list", "--hub", "http://127.0.0.1:9/")
    assert done.exit_code == 3
    assert "http://127.0.0.1:9/services/binder/ can't be reached: Connection refused" in done.stderr


def test_hub_that_answers_in_place_of_its_service_exits_with_3(run) -> None:
    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(403, "'_xsrf' argument missing from GET")

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        done = run("list", "--hub", f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
        thread.join()
    assert done.exit_code == 3
    assert "does not lead to the service" in done.stderr


def test_missing_token_exits_with_2_and_says_where_to_get_one(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUPYTERHUB_BINDER_TOKEN")
    monkeypatch.delenv("JUPYTERHUB_API_TOKEN", raising=False)
    done = run("list")
    assert done.exit_code == 2
    assert "Token page" in done.stderr


def test_token_comes_from_a_file_and_one_that_others_may_read_is_told(
    run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("JUPYTERHUB_BINDER_TOKEN")
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o644)
    done = run("list", "--token-file", str(file))
    assert done.exit_code == 0
    assert "chmod 600" in done.stderr
    assert run("list", "--token-file", "-", input=TOKEN + "\n").exit_code == 0


def test_doctor_reports_machine_and_hub(run, service: Service, tmp_path: Path) -> None:
    done = run("doctor", "--state", str(tmp_path), "--json")
    found = {item["what"]: item["level"] for item in json.loads(done.stdout)}
    assert {"uv", "git", "state", "hub", "service", "token", "backend"} <= found.keys()
    assert found["token"] == found["/health token"] == "ok"


@pytest.mark.parametrize("token", [TOKEN, "a token that the hub does not know"])
def test_doctor_names_each_part_that_the_service_misses(
    run, service: Service, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("JUPYTERHUB_BINDER_TOKEN", token)
    service.ill = {"token": "The hub refuses it.", "backend": "The registry does not answer."}
    done = run("doctor", "--json")
    assert done.exit_code == 1
    found = {item["what"]: item for item in json.loads(done.stdout)}
    for part, why in service.ill.items():
        assert found[f"/health {part}"]["level"] == "problem"
        assert found[f"/health {part}"]["message"] == why


@pytest.mark.parametrize(
    ("free", "level", "status"), [(20 * 10**6, "problem", 1), (2 * 10**9, "note", 0)]
)
def test_doctor_fails_for_a_disk_with_no_room_for_any_build(
    run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, level: str, status: int
) -> None:
    used = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: used)
    done = run("doctor", "--state", str(tmp_path), "--json")
    assert done.exit_code == status
    [found] = [item for item in json.loads(done.stdout) if item["what"] == "state"]
    assert found["level"] == level


def test_doctor_fails_for_a_dead_engine_where_images_are_built(
    run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho Cannot connect to the Docker daemon >&2\nexit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for backend, level, status in (("repo2docker", "problem", 1), ("venv", "note", 0)):
        done = run("doctor", "--state", str(tmp_path), "--backend", backend, "--json")
        assert done.exit_code == status
        [found] = [item for item in json.loads(done.stdout) if item["what"] == "docker"]
        assert found["level"] == level


def test_doctor_fails_and_advises_where_something_is_wrong(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    done = run("doctor")
    assert done.exit_code == 1
    assert "apt install git" in done.stdout


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ("#1 SMP PREEMPT_DYNAMIC Debian 6.1.153-1 (2025-09-20)", True),
        ("#1 SMP PREEMPT_DYNAMIC Debian 6.1.180-1 (2026-08-02)", False),
        ("#97-Ubuntu SMP PREEMPT_DYNAMIC Thu May  7 14:04:02 UTC 2026", True),
        ("#1 SMP PREEMPT_DYNAMIC Mon Jun 1 10:00:00 EDT 2026", False),
        ("#1 SMP PREEMPT_DYNAMIC @0", False),
    ],
)
def test_doctor_notes_a_kernel_built_before_the_fixes(
    monkeypatch: pytest.MonkeyPatch, version: str, old: bool
) -> None:
    names = os.uname_result(("Linux", "vm", "6.1.0", version, "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: names)
    [found] = _check_kernel()
    assert (found.level == "note") is old


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("5.4.6", "note"),
        ("5.5.0", "note"),
        ("5.5.1", "ok"),
        ("6.0.0b1", "ok"),
        ("4.1.6", "problem"),
    ],
)
def test_doctor_notes_a_hub_with_known_holes(version: str, level: str) -> None:
    assert _check_major(version, "hub").level == level


@pytest.mark.parametrize(
    ("answers", "level", "said"),
    [
        ({"version": "29.1.2", "buildx": "v0.30"}, "ok", "Docker 29.1.2 is running ("),
        ({"version": "29.1.2"}, "note", ", without buildx"),
        ({}, "note", "returned an error: permission denied"),
    ],
)
def test_doctor_says_how_docker_is_without_failing_for_it(
    run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    answers: dict[str, str],
    level: str,
    said: str,
) -> None:
    cases = "".join(f"{word}) echo {answer};; " for word, answer in answers.items())
    docker = tmp_path / "docker"
    docker.write_text(
        f'#!/bin/sh\ncase "$1" in --version) echo Docker version 29;; {cases}'
        "*) echo permission denied; exit 1;; esac\n"
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    done = run("doctor", "--state", str(tmp_path), "--json")
    assert done.exit_code == 0
    [found] = [item for item in json.loads(done.stdout) if item["what"] == "docker"]
    assert found["level"] == level
    assert said in found["message"]


def test_doctor_says_nothing_of_docker_where_none_is_meant(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("jupyterhub_binder.cli.doctor.importlib.util.find_spec", lambda _name: None)
    found = {item["what"] for item in json.loads(run("doctor", "--json").stdout)}
    assert "git" in found
    assert "docker" not in found


def test_every_command_teaches_by_help() -> None:
    for name, command in main.commands.items():
        assert command.help, name
        if name != "serve":
            done = CliRunner().invoke(main, [name, "--help"])
            assert done.exit_code == 0
            assert "\\b" not in done.stdout
            examples = [
                line for line in done.stdout.splitlines() if "    jupyterhub-binder" in line
            ]
            assert examples or name in ("demo", "serve"), name
    shown = CliRunner().invoke(main, ["--help"]).stdout
    assert "\n    jupyterhub-binder demo\n" in shown
    assert "..." not in shown.partition("\nCommands:")[2]


def test_package_runs_as_a_module_and_names_itself_so() -> None:
    command = [sys.executable, "-m", "jupyterhub_binder", "list", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: python -m jupyterhub_binder list")


def test_terminal_shows_colours_and_the_log(service: Service) -> None:
    env = {**os.environ, "JUPYTERHUB_BINDER_TOKEN": TOKEN, "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "jupyterhub_binder"]
    command += ["build", "https://example.org/daylight", "--wait", "--hub", service.url]
    shown = _on_terminal(command, env)
    assert "\x1b[32mastral" in shown
    assert "owned" not in shown
    assert "\x1b[2J" not in re.sub(r"\x1b\[2K", "", shown)


def _on_terminal(command: list[str], env: dict[str, str]) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    assert process.wait(30) == 0
    return b"".join(parts).decode()
