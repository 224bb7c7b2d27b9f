"""The files that deploy the platform agree with the workspace, each other, and Dagster."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from botocore.session import Session
from botocore.validate import ParamValidator
from dagster import DagsterInstance
from dagster_aws.ecs import EcsRunLauncher

from taxi_platform.deploy import ASK
from taxi_platform.workspace import ROOT, locations
from taxi_shared.engines import choice
from taxi_shared.settings import Settings

DEPLOY = ROOT / "deploy"
NAMES = [location.name for location in locations()]
WORKFLOWS_FOLDER = ROOT / ".github" / "workflows"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

# The names that Dagster's chart (1.13) has for a user deployment.
CHART = [
    "affinity",
    "annotations",
    "codeServerArgs",
    "dagsterApiGrpcArgs",
    "deploymentNamespace",
    "env",
    "envConfigMaps",
    "envSecrets",
    "extraManifests",
    "image",
    "includeConfigInLaunchedRuns",
    "labels",
    "livenessProbe",
    "name",
    "nodeSelector",
    "podSecurityContext",
    "port",
    "readinessProbe",
    "resources",
    "schedulerName",
    "securityContext",
    "startupProbe",
    "tolerations",
    "volumeMounts",
    "volumes",
]


def test_compose_serves_the_locations_of_the_workspace() -> None:
    served = {
        name
        for name, service in COMPOSE["services"].items()
        if "taxi_shared.code_server" in service.get("command", ())
    }
    assert served == set(NAMES)
    for name in NAMES:
        service = COMPOSE["services"][name]
        assert service["build"]["args"]["FOLDER"] == name
        assert f"--module-name={name}.definitions" in service["command"]


def test_code_servers_without_definitions_are_replaced() -> None:
    command = ["python", "-m", "taxi_shared.code_server", "--host=0.0.0.0", "--port=4000"]
    check = ["python", "-m", "taxi_shared.health", "code", "4000"]
    for name in NAMES:
        service = COMPOSE["services"][name]
        assert service["command"][: len(command)] == command
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"] == ["CMD", *check]
        # The task for ECS, with the name of the location in place of the example's.
        text = (DEPLOY / "ecs" / "ingestion.json").read_text().replace("ingestion", name)
        (task,) = json.loads(text)["containerDefinitions"]
        assert task["command"] == service["command"]
        assert task["healthCheck"]["command"] == ["CMD", *check]
    values = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())
    for deployment in values["dagster-user-deployments"]["deployments"]:
        assert deployment["livenessProbe"]["exec"]["command"] == check


def test_container_workspace_has_the_same_locations() -> None:
    workspace = yaml.safe_load((DEPLOY / "workspace" / "workspace.yaml").read_text())
    servers = [entry["grpc_server"] for entry in workspace["load_from"]]
    assert [server["location_name"] for server in servers] == NAMES
    assert [server["host"] for server in servers] == NAMES


CHANGED = ROOT / ".github" / "changed-locations.sh"


def pattern(workflow: str) -> str:
    """The files whose change affects every location, as a workflow has them."""
    steps = yaml.safe_load((WORKFLOWS_FOLDER / workflow).read_text())["jobs"]["changes"]["steps"]
    return str(steps[-1]["env"]["EVERY"])


@pytest.mark.parametrize("workflow", ["deploy.yml", "tests.yml"])
@pytest.mark.parametrize(
    ("changed", "affected"),
    [
        (["analytics/src/analytics/definitions.py", "docs/README.md"], ["analytics"]),
        (["adhoc_reports/pyproject.toml", "ingestion/x"], ["ingestion", "adhoc_reports"]),
        (["docs/analytics/x", "analytics.md"], []),
        (["shared/src/taxi_shared/keys.py"], NAMES),
    ],
)
def test_change_affects_locations_of_its_folders(
    tmp_path: Path, changed: list[str], affected: list[str], workflow: str
) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init", "--quiet")
    shutil.copy(ROOT / "dg.toml", tmp_path)
    git("add", ".")
    git("commit", "--message=first")
    for name in changed:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    git("add", ".")
    git("commit", "--message=second")
    for since, expected in (("HEAD~1", affected), ("0" * 40, NAMES)):
        printed = subprocess.check_output([CHANGED, since, pattern(workflow)], cwd=tmp_path)
        assert json.loads(printed) == expected


WORKFLOWS = sorted(WORKFLOWS_FOLDER.glob("*.yml"))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_workflows_have_pinned_actions_and_few_rights(file: Path) -> None:
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"] == {"contents": "read"}
        if "self-hosted" in job.get("runs-on", ()):
            assert job["if"] == "github.ref == 'refs/heads/main'"
        for step in job.get("steps", ()):
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step.get("uses", f"a@{'0' * 40}"))
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_base_images_can_be_fixed_by_digest() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    stages = ("python", "environment", "code")
    images = [name for name in re.findall(r"^FROM (\S+)", text, re.M) if name not in stages]
    images += [COMPOSE["services"]["postgres"]["image"]]
    images += re.findall(r"image: (\S+)", (DEPLOY / "production.yml").read_text())
    assert len(images) == 4
    for image in images:
        assert re.search(r"_DIGEST(:-)?\}$", image)
    for service in COMPOSE["services"].values():
        arguments = service.get("build", {}).get("args", {})
        if "PYTHON" in arguments:
            version = arguments["PYTHON"].replace(".", "_")
            assert arguments["PYTHON_DIGEST"] == f"${{TAXI_PYTHON_{version}_DIGEST:-}}"


def test_host_image_has_the_modules_that_its_commands_run() -> None:
    package = ROOT / "src" / "taxi_platform"
    allowed = re.findall(r"^!src/taxi_platform/(\w+)", (ROOT / ".dockerignore").read_text(), re.M)
    text = (ROOT / "docker-compose.yml").read_text() + ASK
    wanted = set(re.findall(r"taxi_platform\.(\w+)", text))
    assert {"webserver", "lost_runs", "graphql"} <= wanted
    assert wanted <= set(allowed)
    for name in allowed:
        for file in [*(package / name).glob("*.py"), *package.glob(f"{name}.py")]:
            imported = re.findall(r"^from taxi_platform\.(\w+)", file.read_text(), re.M)
            assert set(imported) <= set(allowed), file


def test_digests_of_base_images_are_written_as_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho sha256:{'0a' * 32}\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    pin = [str(DEPLOY / "pin.sh")]
    lines = subprocess.run(pin, capture_output=True, text=True, check=True).stdout.splitlines()
    documented = set(re.findall(r"^#(\w+_DIGEST)=", (ROOT / ".env.example").read_text(), re.M))
    assert {line.partition("=")[0] for line in lines} == documented
    assert {line.partition("=")[2] for line in lines} == {f"@sha256:{'0a' * 32}"}
    docker.write_text("#!/bin/sh\necho no such image\n")
    assert subprocess.run(pin, capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("file", ["docker-compose.yml", "deploy/production.yml"])
def test_every_variable_of_a_compose_file_is_documented(file: str) -> None:
    text = (ROOT / file).read_text()
    used = set(re.findall(r"\$\{([A-Z0-9_]+)", text)) - {"COMPOSE_PROJECT_NAME"}
    documented = set(re.findall(r"^#([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.M))
    of_engines = re.findall(r"^\| `([A-Z0-9_]+)`", (ROOT / "docs" / "engines.md").read_text(), re.M)
    assert used - documented - set(of_engines) == set()


def test_containers_reach_each_other_without_the_proxy() -> None:
    """And every service that asks others knows the proxy, runs included."""
    asking = [s for s in COMPOSE["services"].values() if "HTTPS_PROXY" in s.get("environment", {})]
    assert len(asking) == 11
    for service in asking:
        hosts = service["environment"]["NO_PROXY"].rpartition("}")[2].split(",")
        assert {*NAMES, "postgres", "engine", "webserver", "portal", "s3"} <= set(hosts)
    for name in NAMES:
        run = COMPOSE["services"][name]["environment"]["DAGSTER_CONTAINER_CONTEXT"]
        for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "NO_PROXY"):
            assert f'"{variable}",' in run, variable


@pytest.mark.parametrize("name", NAMES)
def test_runs_get_every_setting_of_their_location(name: str) -> None:
    """And so does the daemon, from which the containers of runs take the values."""
    location, daemon = (COMPOSE["services"][each]["environment"] for each in (name, "daemon"))
    # No JSON before Compose has put in its values.
    variables = location["DAGSTER_CONTAINER_CONTEXT"].partition('"container_kwargs"')[0]
    of_runs = re.findall(r'"([A-Z0-9_]+)"', variables)
    settings = [each for each in location if re.match("TAXI_|TLC_|DUCKDB_|AWS_|DAGSTER_P", each)]
    assert "TAXI_SERVICES" in settings
    assert [each for each in settings if each not in of_runs] == []
    assert set(of_runs) <= set(daemon)


TOKEN = "TAXI_DATABRICKS_TOKEN"  # the only secret among them
OUTSIDE = {
    TOKEN,
    *(f"TAXI_{field}".upper() for field in Settings.model_fields if field.startswith("chart_")),
    *(
        choice.variable(name, field)
        for name in choice.ENGINES
        for field in choice.settings_of(name)
    ),
}


def test_settings_of_work_outside_reach_only_locations_that_launch_it() -> None:
    """And the daemon, from which the containers of their runs take the values."""
    given = {
        name: OUTSIDE & set(service.get("environment", ()))
        for name, service in COMPOSE["services"].items()
    }
    asking = ("daemon", "analytics", "adhoc_reports", "adhoc_reports-runs")
    assert {name: found for name, found in given.items() if found} == dict.fromkeys(asking, OUTSIDE)
    # Without a value, Compose passes it on only where it is set outside.
    assert {COMPOSE["services"][name]["environment"][TOKEN] for name in asking} == {None}


@pytest.mark.parametrize("token", ["", "dapi-1"])
def test_runs_get_settings_of_work_outside_by_name(token: str) -> None:
    def value(found: re.Match[str]) -> str:
        name, operator, other = found.groups()
        if operator == "+":
            return other if {TOKEN: token}.get(name) else ""
        return other or ""

    def variables(location: str) -> set[str]:
        context = COMPOSE["services"][location]["environment"]["DAGSTER_CONTAINER_CONTEXT"]
        filled = re.sub(r"\$\{(\w+)(?::([-+])([^}]*))?\}", value, context)
        return set(json.loads(filled)["docker"]["env_vars"])

    assert not variables("ingestion") & OUTSIDE
    for location in ("analytics", "adhoc_reports"):
        missing = OUTSIDE - variables(location)
        assert missing == (set() if token else {TOKEN})


@pytest.mark.parametrize("file", ["docker-compose.yml", "deploy/production.yml"])
def test_files_of_the_project_can_be_read_under_selinux(file: str) -> None:
    mounts = re.findall(r"\./deploy/[^\s\"\]]+", (ROOT / file).read_text())
    assert mounts
    assert [mount for mount in mounts if not mount.endswith(":ro,z")] == []


def test_containers_have_the_limits_of_one_machine() -> None:
    def settings(file: str) -> dict[str, object]:
        found = yaml.safe_load((ROOT / file).read_text())
        return {
            key: found[key]
            for key in found.keys()
            & {"concurrency", "run_coordinator", "sensors", "schedules", "retention", "nux"}
        }

    assert settings("dagster.yaml") == settings("deploy/instance/dagster.yaml")


@pytest.mark.parametrize("name", ["instance", "instance-s3", "ecs"])
def test_hanging_runs_time_out_alike_everywhere(name: str) -> None:
    here, there = (
        yaml.safe_load((ROOT / file).read_text())["run_monitoring"]
        for file in ("dagster.yaml", f"deploy/{name}/dagster.yaml")
    )
    assert here["max_runtime_seconds"] == there["max_runtime_seconds"]


def generate(file: Path, code: str = "") -> str:
    """What `make generate` makes of a file, with more code before its templates."""
    prologue = re.search(r"^COG := .*-p \"(.*)\"$", (ROOT / "Makefile").read_text(), re.M)
    assert prologue
    cog = [str(ROOT / ".venv" / "bin" / "cog"), "-p", f"{prologue[1]}\n{code}", str(file)]
    return subprocess.check_output(cog, cwd=ROOT, text=True)


def test_generated_values_keep_the_tags_that_teams_set(tmp_path: Path) -> None:
    text = (DEPLOY / "helm" / "values.yaml").read_text()
    old, new = 'taxi/analytics, tag: "1a2b3c4d5e6f"', 'taxi/analytics, tag: "00c0ffee0000"'
    assert text.count(old) == 1
    (tmp_path / "values.yaml").write_text(text.replace(old, new))
    assert generate(tmp_path / "values.yaml") == text.replace(old, new)


# A location of this repository, and one of another in the folder beside it.
MORE = """
ours = Location("tips", "tips.definitions", ROOT / "tips", ROOT, "revenue", "3.13")
theirs = Location("tolls", "tolls.definitions", ROOT.parent / "tolls", ROOT, "bridges")
listed = [*locations(), ours, theirs]
locations = lambda: listed
"""


def test_added_location_has_a_service_and_an_image() -> None:
    services = yaml.safe_load(generate(ROOT / "docker-compose.yml", MORE))["services"]
    assert services["tips"]["build"]["args"]["FOLDER"] == "tips"
    assert services["tips"]["build"]["args"]["PYTHON"] == "3.13"
    assert services["tips"]["build"]["args"]["PYTHON_DIGEST"] == "${TAXI_PYTHON_3_13_DIGEST:-}"
    assert services["tips"]["environment"] == services["analytics"]["environment"]
    assert {"tips", "tolls"} <= set(services["tips"]["environment"]["NO_PROXY"].split(","))
    before = {name: COMPOSE["services"][name] for name in ("postgres", "portal", "alerts")}
    assert {name: len(services[name]) for name in before} == {n: len(s) for n, s in before.items()}


def test_location_of_another_repository_is_served_and_not_built() -> None:
    services = yaml.safe_load(generate(ROOT / "docker-compose.yml", MORE))["services"]
    assert "build" not in services["tolls"]
    assert services["tolls"]["image"] == "${TAXI_IMAGES:-taxi}-tolls:current"
    workspace = yaml.safe_load(generate(ROOT / "workspace.yaml", MORE))["load_from"]
    assert workspace[-1]["python_module"]["executable_path"] == "../tolls/.venv/bin/python"
    containers = yaml.safe_load(generate(DEPLOY / "workspace" / "workspace.yaml", MORE))
    assert [e["grpc_server"]["host"] for e in containers["load_from"][-2:]] == ["tips", "tolls"]
    owners = generate(ROOT / ".github" / "CODEOWNERS", MORE)
    assert "/tips/             @taxi-platform/revenue\n" in owners
    assert re.search(r"^/shared/ .*@taxi-platform/revenue$", owners, re.M)
    assert "tolls" not in owners


def test_no_service_depends_on_a_location() -> None:
    waited_for = {
        other for service in COMPOSE["services"].values() for other in service.get("depends_on", ())
    }
    assert not waited_for & set(NAMES)


def test_ecs_has_the_same_pools() -> None:
    here, there = (
        yaml.safe_load((ROOT / file).read_text())["concurrency"]["pools"]
        for file in ("dagster.yaml", "deploy/ecs/dagster.yaml")
    )
    assert here == there


def test_instance_on_s3_differs_only_in_its_logs() -> None:
    on_volume, on_s3 = (
        yaml.safe_load((DEPLOY / name / "dagster.yaml").read_text())
        for name in ("instance", "instance-s3")
    )
    assert on_volume.pop("compute_logs") != on_s3.pop("compute_logs")
    assert on_volume == on_s3


def test_host_image_is_not_older_than_a_location() -> None:
    def version(folder: str) -> tuple[int, ...]:
        lock = (ROOT / folder / "requirements.lock").read_text()
        found = re.search(r"^dagster==([0-9.]+) ", lock, re.M)
        assert found
        return tuple(int(part) for part in found[1].split("."))

    assert all(version("deploy/host") >= version(name) for name in NAMES)


def test_helm_chart_deploys_every_location() -> None:
    values = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())
    deployments = values["dagster-user-deployments"]["deployments"]
    assert [each["name"].replace("-", "_") for each in deployments] == NAMES
    for each, name in zip(deployments, NAMES, strict=True):
        assert set(each) <= set(CHART)
        assert each["codeServerArgs"] == ["--module-name", f"{name}.definitions"]
        assert each["image"]["repository"].endswith(f"/{name}")
        assert re.fullmatch("[0-9a-f]{12}", each["image"]["tag"]), "a tag that does not move"
    lock = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    chart = re.search(r"--version ([0-9.]+)", (DEPLOY / "helm" / "values.yaml").read_text())
    assert chart
    assert f"dagster>={chart[1]},<1.14" in lock


def test_dagster_accepts_the_ecs_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = yaml.safe_load((DEPLOY / "ecs" / "dagster.yaml").read_text())
    assert (
        config.pop("storage")
        == yaml.safe_load((DEPLOY / "instance" / "dagster.yaml").read_text())["storage"]
    )
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    for name, value in {"AWS_DEFAULT_REGION": "us-east-1", "TAXI_LOGS_BUCKET": "logs"}.items():
        monkeypatch.setenv(name, value)
    with DagsterInstance.from_config(str(tmp_path)) as instance:
        launcher = instance.run_launcher
        assert isinstance(launcher, EcsRunLauncher)
        assert launcher.run_resources == {"cpu": "1024", "memory": "2048"}


def test_ecs_accepts_the_task_of_a_code_server() -> None:
    task = json.loads((DEPLOY / "ecs" / "ingestion.json").read_text())
    ecs = Session().get_service_model("ecs").operation_model("RegisterTaskDefinition")
    report = ParamValidator().validate(task, ecs.input_shape)
    assert not report.has_errors(), report.generate_report()
    (server,) = task["containerDefinitions"]
    assert {"name": "DAGSTER_CURRENT_IMAGE", "value": server["image"]} in server["environment"]
    given = {each["name"] for each in (*server["environment"], *server["secrets"])}
    storage = yaml.safe_load((DEPLOY / "ecs" / "dagster.yaml").read_text())["storage"]
    wanted = {
        each["env"]
        for each in storage["custom"]["config"]["postgres_db"].values()
        if isinstance(each, dict)
    }
    assert wanted | {"AWS_REGION", "TAXI_LOGS_BUCKET", "TAXI_DATA_ROOT"} <= given
    assert "DAGSTER_POSTGRES_PASSWORD" not in {each["name"] for each in server["environment"]}
