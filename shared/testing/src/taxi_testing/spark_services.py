"""Services that run jobs of Spark, on this machine: each job is a process.

EMR Serverless, EMR, Glue, Dataproc and Databricks answer the calls that run a job. Its script, its
packages and its question come from the S3 server of the environment. A process here reads no files
on S3, so the files that the question names are copied, and the question names the copies.
"""

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from dagster_pipes import decode_param

from taxi_shared import storage
from taxi_testing.web_service import WebService, serving

TOKEN = "dapi-only-for-tests"  # noqa: S105 - of a service that lives as long as a test
STOP_SECONDS = 20
CONTEXT_ARGUMENT = "--dagster-pipes-context"

Body = dict[str, Any]


@dataclass
class Job:
    """A job and its process."""

    id: str
    process: subprocess.Popen[bytes]
    log: Path
    polls: int = 0
    stopped: bool = False

    @property
    def state(self) -> str:
        """One of pending, running, stopped, succeeded and failed."""
        if self.process.poll() is None:
            return "pending" if self.polls < 2 else "running"  # noqa: PLR2004 - the first poll
        if self.stopped:
            return "stopped"
        return "failed" if self.process.returncode else "succeeded"

    @property
    def reason(self) -> str:
        """The last line of the job's output, where it has failed."""
        lines = self.log.read_text().splitlines()
        return lines[-1] if self.state == "failed" and lines else ""

    def stop(self) -> None:
        """End the process."""
        self.stopped = self.process.poll() is None
        self.process.terminate()
        self.process.wait(STOP_SECONDS)


@dataclass
class SparkServices:
    """The services, and what they were asked.

    folder: for copies of files, and logs of jobs
    python: that runs the jobs
    delay:  seconds from the start of a job to the answer that it has started
    busy:   how many of the next calls are refused for the moment
    """

    folder: Path
    python: str = sys.executable
    delay: float = 0
    busy: int = 0
    address: str = ""
    jobs: dict[str, Job] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    requests: list[Body] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which AWS's clients find the services."""
        names = ("EMR_SERVERLESS", "EMR", "GLUE")
        return {f"AWS_ENDPOINT_URL_{name}": self.address for name in names}

    def call(self, call: str, body: Body) -> Body:
        """Answer a call. Raises KeyError for an unknown one, and for an unknown job."""
        for pattern, answer in _CALLS.items():
            if found := re.fullmatch(pattern, call):
                self.calls.append(answer.__name__)
                self.requests.append(body)
                return answer(self, {**body, **found.groupdict()})
        raise KeyError(call)

    def start(self, script: str, packages: Sequence[str], arguments: Sequence[str]) -> Job:
        """Start a script that is on S3."""
        job_id = uuid.uuid4().hex[:16]
        home = self.folder / job_id
        home.mkdir()
        self._copy_lake(decode_param(arguments[arguments.index(CONTEXT_ARGUMENT) + 1]))
        program, *paths = [self._copy(address) for address in (script, *packages)]
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [self.python, str(program), *arguments],
                cwd=home,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.jobs[job_id] = Job(job_id, process, home / "log")
        time.sleep(self.delay)
        return self.jobs[job_id]

    def poll(self, job_id: str) -> Job:
        """Return a job for a call that asks for its state."""
        job = self.jobs[job_id]
        job.polls += 1
        return job

    def _copy_lake(self, place: Body) -> None:
        question = storage.path_at(f"s3://{place['bucket']}/{place['key']}")
        text = storage.read_text(question)
        for table in json.loads(text)["extras"]["question"]["tables"]:
            for file in table["files"]:
                self._copy(file)
        storage.write_text(question, re.sub("s3a?://", f"{self.folder}/", text))

    def _copy(self, address: str) -> Path:
        _, _, name = address.partition("://")
        copy = self.folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(storage.read_bytes(storage.path_at(f"s3://{name}")))
        return copy


def _check_token(token: str, longest: int) -> None:
    """Raise ValueError for a token that a service refuses by its documentation."""
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{longest}}}", token):
        raise ValueError(
            f"the token {token!r} is refused; expected at most {longest} letters, digits, _ and -"
        )


def _start_emr_serverless(services: SparkServices, body: Body) -> Body:
    _check_token(body["clientToken"], 64)
    driver = body["jobDriver"]["sparkSubmit"]
    packages = driver["sparkSubmitParameters"].split()[1:2]
    job = services.start(driver["entryPoint"], packages, driver["entryPointArguments"])
    return {"applicationId": body["application"], "jobRunId": job.id, "arn": f"arn:{job.id}"}


def _poll_emr_serverless(services: SparkServices, body: Body) -> Body:
    job = services.poll(body["job"])
    states = {"succeeded": "SUCCESS", "stopped": "CANCELLED"}
    state = states.get(job.state, job.state.upper())
    return {"jobRun": {"jobRunId": job.id, "state": state, "stateDetails": job.reason}}


def _stop_emr_serverless(services: SparkServices, body: Body) -> Body:
    services.jobs[body["job"]].stop()
    return {"applicationId": body["application"], "jobRunId": body["job"]}


def _start_emr(services: SparkServices, body: Body) -> Body:
    (step,) = body["Steps"]
    command = step["HadoopJarStep"]["Args"]
    packages = command.index("--py-files") + 1
    script = next(index for index, part in enumerate(command) if part.endswith(".py"))
    job = services.start(command[script], [command[packages]], command[script + 1 :])
    return {"StepIds": [job.id]}


def _poll_emr(services: SparkServices, body: Body) -> Body:
    job = services.poll(body["StepId"])
    states = {"succeeded": "COMPLETED", "stopped": "CANCELLED"}
    status: Body = {"State": states.get(job.state, job.state.upper())}
    if job.reason:
        status["FailureDetails"] = {"Reason": "Unknown Error.", "Message": job.reason}
    return {"Step": {"Id": job.id, "Status": status}}


def _stop_emr(services: SparkServices, body: Body) -> Body:
    (step,) = body["StepIds"]
    services.jobs[step].stop()
    return {"CancelStepsInfoList": [{"StepId": step, "Status": "SUBMITTED"}]}


def _start_glue(services: SparkServices, body: Body) -> Body:
    given = body["Arguments"]
    script, package = given["--scriptLocation"], given["--extra-py-files"]
    # As Glue does, with further arguments.
    arguments = [part for argument in given.items() for part in argument]
    job = services.start(script, [package], [*arguments, "--JOB_NAME", body["JobName"]])
    return {"JobRunId": job.id}


def _poll_glue(services: SparkServices, body: Body) -> Body:
    job = services.poll(body["RunId"])
    run = {"Id": job.id, "JobRunState": {"pending": "STARTING"}.get(job.state, job.state.upper())}
    return {"JobRun": {**run, "ErrorMessage": job.reason} if job.reason else run}


def _stop_glue(services: SparkServices, body: Body) -> Body:
    (run,) = body["JobRunIds"]
    services.jobs[run].stop()
    return {"SuccessfulSubmissions": [{"JobName": body["JobName"], "JobRunId": run}]}


def _start_dataproc(services: SparkServices, body: Body) -> Body:
    _check_token(body["requestId"], 40)
    _check_token(body["job"]["reference"]["jobId"], 100)
    given = body["job"]["pysparkJob"]
    job = services.start(given["mainPythonFileUri"], given["pythonFileUris"], given["args"])
    services.jobs[body["job"]["reference"]["jobId"]] = job
    return {"reference": body["job"]["reference"], "status": {"state": "PENDING"}}


def _poll_dataproc(services: SparkServices, body: Body) -> Body:
    job = services.poll(body["job"])
    states = {"succeeded": "DONE", "stopped": "CANCELLED", "failed": "ERROR"}
    status = {"state": states.get(job.state, job.state.upper())}
    return {"status": {**status, "details": job.reason} if job.reason else status}


def _stop_dataproc(services: SparkServices, body: Body) -> Body:
    services.jobs[body["job"]].stop()
    return {"status": {"state": "CANCEL_STARTED"}}


def _start_databricks(services: SparkServices, body: Body) -> Body:
    _check_token(body["idempotency_token"], 64)
    (task,) = body["tasks"]
    given = task["spark_python_task"]
    job = services.start(given["python_file"], [], given["parameters"])  # PyPI's packages are here
    number = len(services.jobs)
    services.jobs[str(number)] = job
    return {"run_id": number}


def _poll_databricks(services: SparkServices, body: Body) -> Body:
    job = services.poll(body["run_id"])
    results = {"succeeded": "SUCCESS", "stopped": "CANCELED", "failed": "FAILED"}
    state = {"life_cycle_state": job.state.upper(), "state_message": job.reason}
    if job.state in results:
        state |= {"life_cycle_state": "TERMINATED", "result_state": results[job.state]}
    return {"state": state, "run_page_url": f"{services.address}/jobs/runs/{body['run_id']}"}


def _stop_databricks(services: SparkServices, body: Body) -> Body:
    services.jobs[str(body["run_id"])].stop()
    return {}


def google_keys(services: SparkServices) -> Path:
    """Write the keys of a service account, which gets its tokens from the services here."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "client_email": "taxis@example.org",
        "private_key": key.decode(),
        "token_uri": f"{services.address}/token",
    }
    file = services.folder / "google.json"
    file.write_text(json.dumps(account))
    return file


def _give_token(services: SparkServices, body: Body) -> Body:
    return {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}


# By method and path, or by the name that some of AWS's APIs have in a header.
_RUN = "/applications/(?P<application>[^/]+)/jobruns"
_JOBS = "/v1/projects/[^/]+/regions/[^/]+/jobs"
_CALLS: dict[str, Callable[[SparkServices, Body], Body]] = {
    f"POST {_RUN}": _start_emr_serverless,
    f"GET {_RUN}/(?P<job>[^/]+)": _poll_emr_serverless,
    f"DELETE {_RUN}/(?P<job>[^/]+)": _stop_emr_serverless,
    "ElasticMapReduce.AddJobFlowSteps": _start_emr,
    "ElasticMapReduce.DescribeStep": _poll_emr,
    "ElasticMapReduce.CancelSteps": _stop_emr,
    "AWSGlue.StartJobRun": _start_glue,
    "AWSGlue.GetJobRun": _poll_glue,
    "AWSGlue.BatchStopJobRun": _stop_glue,
    f"POST {_JOBS}:submit": _start_dataproc,
    f"GET {_JOBS}/(?P<job>[^/:]+)": _poll_dataproc,
    f"POST {_JOBS}/(?P<job>[^/:]+):cancel": _stop_dataproc,
    "POST /api/2.2/jobs/runs/submit": _start_databricks,
    "GET /api/2.2/jobs/runs/get": _poll_databricks,
    "POST /api/2.2/jobs/runs/cancel": _stop_databricks,
    "POST /token": _give_token,
}


@contextmanager
def spark_services(folder: Path) -> Iterator[SparkServices]:
    """Start the services on a free port of 127.0.0.1; jobs that still run end with the block."""
    services = SparkServices(folder)

    class Api(WebService):
        def respond(self) -> None:
            text = self.body()
            is_json = "json" in self.headers.get("Content-Type", "")
            url = urlsplit(self.path)
            body = {**(json.loads(text) if text and is_json else {}), **dict(parse_qsl(url.query))}
            call = self.headers.get("X-Amz-Target") or f"{self.command} {url.path}"
            bearer = self.headers.get("Authorization", "").startswith("Bearer ")
            if bearer and self.headers["Authorization"] != f"Bearer {TOKEN}":
                self.answer_json(403, {"error_code": "403", "message": "Invalid access token."})
                return
            if services.busy:
                services.busy -= 1
                self.answer_json(503, {"message": "busy"})
                return
            try:
                self.answer_json(200, services.call(call, body))
            except Exception as error:  # the client gets what a test did wrong
                self.answer_json(400, {"message": repr(error), "__type": "ValidationException"})

    with serving(Api) as address:
        services.address = f"http://{address}"
        try:
            yield services
        finally:
            for job in services.jobs.values():
                job.stop()
