"""Services that run jobs of Spark: EMR Serverless, EMR, Glue, Dataproc and Databricks.

The same loop serves all of them: it puts the job and its question below the data root, starts the
job, follows its state and messages, and stops it when the run is cancelled. Dagster's own Pipes
clients each lack one of these.
"""

import math
import shlex
import time
import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
from pydantic import Field

from taxi_shared import aws
from taxi_shared.engines import NoAnswer, cancelled_on_error
from taxi_shared.engines.pipes_store import JobFolder, zip_pipes
from taxi_shared.engines.spark import JOB, SparkEngine

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 5.0
STOP_SECONDS = 30.0
REQUEST_SECONDS = 60
RETRIES = 5


@dataclass(frozen=True)
class Job:
    """A job to start.

    name:      for people
    token:     a UUID, of this job alone: a service starts it once, although the request is repeated
    script:    address of `spark_job.py`
    package:   address of dagster-pipes as a zip file
    arguments: of the script
    """

    name: str
    token: str
    script: str
    package: str
    arguments: Mapping[str, str]

    @property
    def argument_list(self) -> list[str]:
        """The arguments as a command has them."""
        return [part for argument in self.arguments.items() for part in argument]

    def submit_options(self, further: str) -> list[str]:
        """The options of `spark-submit`."""
        return ["--py-files", self.package, *shlex.split(further)]


@dataclass(frozen=True)
class Progress:
    """The state of a job in the words of its service, the reason for it, and its page."""

    state: str
    reason: str
    page: str


class SparkService(SparkEngine):
    """Answers by a job that a service runs, with its own copy of `spark_job.py`."""

    stores = frozenset({"s3"})
    succeeded: ClassVar[str]
    failed: ClassVar[frozenset[str]]
    script: str = str(JOB)

    @abstractmethod
    def connect(self) -> Any:
        """Return a client of the service."""

    @abstractmethod
    def start(self, client: Any, job: Job) -> str:
        """Start a job and return its id."""

    @abstractmethod
    def progress(self, client: Any, job_id: str) -> Progress:
        """Return the state of a job."""

    @abstractmethod
    def stop(self, client: Any, job_id: str) -> None:
        """Ask the service to stop a job, which may take a while."""

    def run_job(
        self, context: dg.AssetExecutionContext, extras: dict[str, Any]
    ) -> dg.PipesClientCompletedInvocation:
        """Run the job to its end. Raises NoAnswer with the reason why it failed."""
        name, service = extras["question"]["name"], type(self).__name__
        folder = JobFolder(context, self.database.lake.root)
        client, state = self.connect(), ""
        with (
            dg.open_pipes_session(context, folder, folder, extras) as session,
            ThreadPoolExecutor(1) as pool,
        ):
            job = Job(
                f"{name} {context.run.run_id}",
                str(uuid.uuid4()),
                folder.write(JOB.name, Path(self.script).read_bytes()),
                folder.write("dagster_pipes.zip", zip_pipes()),
                session.get_bootstrap_cli_arguments(),
            )
            # In a thread: a run that is cancelled meanwhile still gets the id of the job to stop.
            starting = pool.submit(self._start, client, job)
            with cancelled_on_error(context, lambda: _cancel(starting)):
                started = starting.result()
                for progress in started.follow():
                    if progress.state != state:
                        state = progress.state
                        context.log.info(
                            f"{name}: job {started.id} of {service} is {state}: {progress.page}"
                        )
                    folder.read()
        if progress.state != self.succeeded:
            raise NoAnswer(
                f"{name}: job {started.id} of {service} is {progress.state}: "
                f"{progress.reason or 'the service gives no reason'}. Its output is among the logs "
                f"of this run; see also {progress.page}"
            )
        return dg.PipesClientCompletedInvocation(
            session,
            metadata={
                "service": service,
                "job": started.id,
                "job page": dg.MetadataValue.url(progress.page),
            },
        )

    def _start(self, client: Any, job: Job) -> "StartedJob":
        return StartedJob(self, client, self.start(client, job))


@dataclass(frozen=True)
class StartedJob:
    """A job that a service has started."""

    service: SparkService
    client: Any
    id: str

    def follow(self, longest: float = math.inf) -> Iterator[Progress]:
        """Yield the progress of the job until it has ended, or for some seconds."""
        wait, deadline = FIRST_WAIT_SECONDS, time.monotonic() + longest
        ended = self.service.failed | {self.service.succeeded}
        while True:
            progress = self.service.progress(self.client, self.id)
            yield progress
            if progress.state in ended or time.monotonic() > deadline:
                return
            time.sleep(wait)
            wait = min(wait * 1.5, LONGEST_WAIT_SECONDS)

    def cancel(self) -> None:
        """Stop the job, and wait for its end: until then it may write messages.

        Raises TimeoutError where it has not ended after STOP_SECONDS.
        """
        self.service.stop(self.client, self.id)
        *_, last = self.follow(STOP_SECONDS)
        if last.state not in self.service.failed | {self.service.succeeded}:
            raise TimeoutError(f"job {self.id} is {last.state}; see {last.page}")


def _cancel(starting: Future[StartedJob]) -> None:
    if starting.exception() is None:
        starting.result().cancel()


class EmrServerless(SparkService):
    """Spark by Amazon EMR Serverless."""

    succeeded = "SUCCESS"
    failed = frozenset({"FAILED", "CANCELLED"})

    application_id: str = Field(description="id of the application, of the type Spark")
    role_arn: str = Field(description="ARN of the role of jobs, which reads and writes the bucket")
    options: str = Field(default="", description="further options of spark-submit")

    def connect(self) -> Any:
        """Return a client of boto3."""
        return aws.client_of("emr-serverless")

    def start(self, client: Any, job: Job) -> str:
        """Start a job run."""
        run: str = client.start_job_run(
            applicationId=self.application_id,
            clientToken=job.token,
            executionRoleArn=self.role_arn,
            name=job.name,
            jobDriver={
                "sparkSubmit": {
                    "entryPoint": job.script,
                    "entryPointArguments": job.argument_list,
                    "sparkSubmitParameters": shlex.join(job.submit_options(self.options)),
                }
            },
        )["jobRunId"]
        return run

    def progress(self, client: Any, job_id: str) -> Progress:
        """Return the state of a job run. Its page has no address without the id of a studio."""
        run = client.get_job_run(applicationId=self.application_id, jobRunId=job_id)["jobRun"]
        return Progress(
            run["state"],
            run.get("stateDetails", ""),
            aws.console(client, "emr", "/serverless"),
        )

    def stop(self, client: Any, job_id: str) -> None:
        """Cancel a job run."""
        client.cancel_job_run(applicationId=self.application_id, jobRunId=job_id)


class Emr(SparkService):
    """Spark by a running cluster of Amazon EMR on EC2: a job is a step."""

    succeeded = "COMPLETED"
    failed = frozenset({"CANCELLED", "FAILED", "INTERRUPTED"})

    cluster_id: str = Field(description="id of a running cluster, as in j-2AXXXXXXGAPLF")
    options: str = Field(default="", description="further options of spark-submit")

    def connect(self) -> Any:
        """Return a client of boto3."""
        return aws.client_of("emr")

    def start(self, client: Any, job: Job) -> str:
        """Add a step. Its driver runs in the step's process, and so ends with it."""
        options = ["--deploy-mode", "client", *job.submit_options(self.options)]
        (step,) = client.add_job_flow_steps(
            JobFlowId=self.cluster_id,
            Steps=[
                {
                    "Name": job.name,
                    "ActionOnFailure": "CONTINUE",
                    "HadoopJarStep": {
                        "Jar": "command-runner.jar",
                        "Args": ["spark-submit", *options, job.script, *job.argument_list],
                    },
                }
            ],
        )["StepIds"]
        return str(step)

    def progress(self, client: Any, job_id: str) -> Progress:
        """Return the state of a step."""
        step = client.describe_step(ClusterId=self.cluster_id, StepId=job_id)["Step"]
        details = step["Status"].get("FailureDetails", {})
        reason = " ".join(
            details[part] for part in ("Reason", "Message", "LogFile") if part in details
        )
        page = aws.console(client, "emr", f"/clusterDetails/{self.cluster_id}")
        return Progress(step["Status"]["State"], reason, page)

    def stop(self, client: Any, job_id: str) -> None:
        """Cancel a step, and end its process."""
        (answer,) = client.cancel_steps(
            ClusterId=self.cluster_id,
            StepIds=[job_id],
            StepCancellationOption="TERMINATE_PROCESS",
        )["CancelStepsInfoList"]
        if answer["Status"] == "FAILED":
            raise RuntimeError(answer.get("Reason", "EMR gives no reason"))


class Glue(SparkService):
    """Spark by a job of AWS Glue, which says the role and the size; its script is not used."""

    succeeded = "SUCCEEDED"
    failed = frozenset({"FAILED", "STOPPED", "TIMEOUT", "ERROR", "EXPIRED"})

    job_name: str = Field(description="name of a job of the type Spark")

    def connect(self) -> Any:
        """Return a client of boto3."""
        return aws.client_of("glue")

    def start(self, client: Any, job: Job) -> str:
        """Start a run of the job with another script."""
        files = {"--scriptLocation": job.script, "--extra-py-files": job.package}
        run: str = client.start_job_run(
            JobName=self.job_name, Arguments={**files, **job.arguments}
        )["JobRunId"]
        return run

    def progress(self, client: Any, job_id: str) -> Progress:
        """Return the state of a run."""
        run = client.get_job_run(JobName=self.job_name, RunId=job_id)["JobRun"]
        page = aws.console(client, "gluestudio", f"/job/{self.job_name}/run/{job_id}")
        return Progress(run["JobRunState"], run.get("ErrorMessage", ""), page)

    def stop(self, client: Any, job_id: str) -> None:
        """Stop a run."""
        answer = client.batch_stop_job_run(JobName=self.job_name, JobRunIds=[job_id])
        if errors := answer.get("Errors"):
            raise RuntimeError(errors[0]["ErrorDetail"].get("ErrorMessage", "Glue gives no reason"))


class Dataproc(SparkService):
    """Spark by a running cluster of Google Dataproc. Needs the extra `gcp`."""

    stores = frozenset({"s3", "gcs"})
    succeeded = "DONE"
    failed = frozenset({"CANCELLED", "ERROR"})

    project: str = Field(description="project of the cluster")
    region: str = Field(description="region of the cluster, as in us-central1")
    cluster: str = Field(description="name of a running cluster")
    endpoint: str = "https://dataproc.googleapis.com"

    @property
    def s3_scheme(self) -> str:
        """How Spark names files on S3, where the data root is there."""
        return "s3a"

    def connect(self) -> Any:
        """Return a session with Google's default credentials."""
        import google.auth
        from google.auth.transport.requests import AuthorizedSession

        credentials, _ = google.auth.default(["https://www.googleapis.com/auth/cloud-platform"])
        session: Callable[..., Any] = AuthorizedSession  # it has no types
        return _retrying(session(credentials))

    def start(self, client: Any, job: Job) -> str:
        """Submit a job, whose id is known before."""
        _ask(
            client.post,
            f"{self._jobs}:submit",
            {
                "requestId": job.token,
                "job": {
                    "reference": {"jobId": job.token},
                    "placement": {"clusterName": self.cluster},
                    "pysparkJob": {
                        "mainPythonFileUri": self._address(job.script),
                        "pythonFileUris": [self._address(job.package)],
                        "args": job.argument_list,
                    },
                },
            },
        )
        return job.token

    def progress(self, client: Any, job_id: str) -> Progress:
        """Return the state of a job."""
        status = _ask(client.get, f"{self._jobs}/{job_id}")["status"]
        page = (
            f"https://console.cloud.google.com/dataproc/jobs/{job_id}"
            f"?region={self.region}&project={self.project}"
        )
        return Progress(status["state"], status.get("details", ""), page)

    def stop(self, client: Any, job_id: str) -> None:
        """Cancel a job."""
        _ask(client.post, f"{self._jobs}/{job_id}:cancel", {})

    @property
    def _jobs(self) -> str:
        return f"{self.endpoint}/v1/projects/{self.project}/regions/{self.region}/jobs"

    def _address(self, address: str) -> str:
        return address.replace("s3://", f"{self.s3_scheme}://", 1)


class Databricks(SparkService):
    """Spark by a cluster of Databricks, of one user's access: others have no Spark context."""

    stores = frozenset({"s3", "gcs"})
    succeeded = "SUCCESS"
    failed = frozenset(
        {
            *("FAILED", "TIMEDOUT", "CANCELED", "MAXIMUM_CONCURRENT_RUNS_REACHED", "EXCLUDED"),
            *("UPSTREAM_FAILED", "UPSTREAM_CANCELED", "DISABLED", "SUCCESS_WITH_FAILURES"),
            *("SKIPPED", "INTERNAL_ERROR", "TERMINATED"),
        }
    )

    host: str = Field(description="address of the workspace, https://…")
    cluster_id: str = Field(description="id of a cluster; it is started if it is not running")

    def connect(self) -> Any:
        """Return a session with the token of the secret `TAXI_DATABRICKS_TOKEN`."""
        from taxi_shared.http import Credentials, Session
        from taxi_shared.secrets import secret

        return _retrying(Session(Credentials(f"Bearer {secret('databricks_token')}", self.host)))

    def start(self, client: Any, job: Job) -> str:
        """Submit a run of one task."""
        from dagster_pipes.version import __version__

        task = {
            "task_key": "question",
            "existing_cluster_id": self.cluster_id,
            "spark_python_task": {"python_file": job.script, "parameters": job.argument_list},
            "libraries": [{"pypi": {"package": f"dagster-pipes=={__version__}"}}],
        }
        request = {"run_name": job.name, "idempotency_token": job.token, "tasks": [task]}
        return str(_ask(client.post, f"{self._runs}/submit", request)["run_id"])

    def progress(self, client: Any, job_id: str) -> Progress:
        """Return the result of a run, or how far it is."""
        run = _ask(client.get, f"{self._runs}/get?run_id={job_id}")
        found = run["state"]
        ended = found.get("result_state") or found["life_cycle_state"]
        return Progress(ended, found.get("state_message", ""), run["run_page_url"])

    def stop(self, client: Any, job_id: str) -> None:
        """Cancel a run."""
        _ask(client.post, f"{self._runs}/cancel", {"run_id": int(job_id)})

    @property
    def _runs(self) -> str:
        return f"{self.host.rstrip('/')}/api/2.2/jobs/runs"


def _retrying(session: Any) -> Any:
    """Let a session of requests repeat what a service refuses for the moment.

    Repeating a request changes nothing: each that starts a job has the token of the job.
    """
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry

    retries = Retry(
        RETRIES,
        backoff_factor=1,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,
    )
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=retries))
    return session


def _ask(call: Any, url: str, body: Mapping[str, Any] | None = None) -> Any:
    """Send a request and return the answer's JSON. Raises NoAnswer with the service's message."""
    response = call(url, json=body, timeout=REQUEST_SECONDS)
    if not response.ok:
        raise NoAnswer(f"{url} answers {response.status_code}: {response.text[:1000]}")
    return response.json()
