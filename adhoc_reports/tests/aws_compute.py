"""AWS Lambda and ECS on this machine: their APIs for boto3, and processes that do the work."""

import base64
import json
import os
import queue
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taxi_testing.web_service import WebService, serving

ANSWER_SECONDS = 30
LOG_TAIL_BYTES = 4096


@dataclass
class Invocation:
    """A call of a function, and what became of it."""

    event: bytes
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    payload: bytes = b""
    is_error: bool = False
    begun: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)


@dataclass
class LambdaService:
    """A function of Lambda in one process, which stays warm: AWS's own runtime client runs it.

    It serves Invoke for callers, and for the process the runtime API, by which that fetches
    invocations and returns results.
    """

    log: Path
    address: str = ""
    invocations: list[Invocation] = field(default_factory=list)
    waiting: "queue.Queue[Invocation | None]" = field(default_factory=queue.Queue)

    @property
    def endpoint(self) -> str:
        """The address for AWS_ENDPOINT_URL_LAMBDA."""
        return f"http://{self.address}"

    def invoke(self, event: bytes) -> tuple[bytes, dict[str, str]]:
        """Have the process handle an event; returns the payload and the headers of the answer."""
        begin = self.log.stat().st_size
        invocation = Invocation(event)
        self.invocations.append(invocation)
        self.waiting.put(invocation)
        assert invocation.ended.wait(ANSWER_SECONDS), self.log.read_text()
        lines = self.log.read_bytes()[begin:] + f"END RequestId: {invocation.id}\n".encode()
        error = {"X-Amz-Function-Error": "Unhandled"} if invocation.is_error else {}
        tail = base64.b64encode(lines[-LOG_TAIL_BYTES:]).decode()
        return invocation.payload, {"X-Amz-Log-Result": tail, **error}

    def finish(self, path: str, payload: bytes) -> None:
        """Take the result of an invocation: `…/<id>/response` or `…/<id>/error`."""
        invocation_id, _, kind = path.removeprefix(_RUNTIME).rpartition("/")
        (invocation,) = (each for each in self.invocations if each.id == invocation_id)
        invocation.payload, invocation.is_error = payload, kind == "error"
        invocation.ended.set()


_RUNTIME = "/2018-06-01/runtime/invocation/"


@contextmanager
def lambda_service(handler: str, folder: Path) -> Iterator[LambdaService]:
    """Start the service for a handler, `module.function`; modules may be in the folder."""
    service = LambdaService(folder / "function.log")
    service.log.touch()

    class Api(WebService):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            if self.command == "GET":
                self.give_invocation()
            elif self.path.startswith("/2015-03-31/functions/"):
                self.answer(200, *service.invoke(self.body()))
            else:
                service.finish(self.path, self.body())
                self.answer(202, b"{}")

        def give_invocation(self) -> None:
            invocation = service.waiting.get()
            if invocation is None:
                return self.answer(410, b"")
            invocation.begun.set()
            headers = {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": invocation.id,
                "Lambda-Runtime-Deadline-Ms": "4102444800000",
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:1:function:chart",
                "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
            }
            return self.answer(200, invocation.event, headers)

    with serving(Api) as service.address, service.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", handler],
            env={
                **os.environ,
                "AWS_LAMBDA_RUNTIME_API": service.address,
                "PYTHONPATH": str(folder),
                "LAMBDA_TASK_ROOT": str(folder),
            },
            stdout=log,
            stderr=log,
        )
        try:
            yield service
        finally:
            process.kill()
            process.wait()
            service.waiting.put(None)


@dataclass
class EcsTask:
    """A task of ECS, which is a process."""

    request: dict[str, Any]
    process: "subprocess.Popen[bytes]"
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    stopped: bool = False

    @property
    def arn(self) -> str:
        """The name of the task."""
        return f"arn:aws:ecs:us-east-1:1:task/{self.request.get('cluster', 'default')}/{self.id}"

    def described(self) -> dict[str, Any]:
        """The task as DescribeTasks shows it."""
        code = self.process.poll()
        exit_code = {} if code is None else {"exitCode": code % 256}
        return {
            "taskArn": self.arn,
            "clusterArn": "arn:aws:ecs:us-east-1:1:cluster/taxi",
            "lastStatus": "RUNNING" if code is None else "STOPPED",
            "containers": [{"name": "chart", "runtimeId": f"{self.id}-1", **exit_code}],
        }


@dataclass
class EcsService:
    """The calls of ECS that run and stop a task.

    commands: by task definition; none for one that lacks room
    failing:  calls that are answered by an error
    """

    commands: Mapping[str, Sequence[str]]
    endpoint: str = ""
    tasks: list[EcsTask] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)

    def call(self, action: str, request: dict[str, Any]) -> dict[str, Any]:
        """Answer a call. Raises KeyError for an unknown one."""
        if action == "DescribeTaskDefinition":
            return {"taskDefinition": {"containerDefinitions": [{"name": "chart"}]}}
        if action == "RunTask":
            return self._run(request)
        if action == "DescribeTasks":
            return {
                "tasks": [each.described() for each in self.tasks if each.arn in request["tasks"]]
            }
        if action == "ListTasks":
            found = [
                each for each in self.tasks if each.request["startedBy"] == request["startedBy"]
            ]
            return {"taskArns": [each.arn for each in found if each.process.poll() is None]}
        if action == "StopTask":
            (task,) = (each for each in self.tasks if each.arn == request["task"])
            task.process.kill()
            task.process.wait()
            task.stopped = True
            return {"task": task.described()}
        raise KeyError(action)

    def _run(self, request: dict[str, Any]) -> dict[str, Any]:
        if not (command := self.commands[request["taskDefinition"]]):
            return {"tasks": [], "failures": [{"reason": "RESOURCE:MEMORY"}]}
        (container,) = request["overrides"]["containerOverrides"]
        variables = {each["name"]: each["value"] for each in container["environment"]}
        task = EcsTask(request, subprocess.Popen(command, env={**os.environ, **variables}))
        self.tasks.append(task)
        return {"tasks": [task.described()], "failures": []}


@contextmanager
def ecs_service(commands: Mapping[str, Sequence[str]]) -> Iterator[EcsService]:
    """Start the service; tasks that still run at its end are killed."""
    service = EcsService(commands)

    class Api(WebService):
        def respond(self) -> None:
            action = self.headers["X-Amz-Target"].rpartition(".")[2]
            request, kind = json.loads(self.body()), "application/x-amz-json-1.1"
            if action in service.failing:
                error = {"__type": "AccessDeniedException", "message": f"not allowed: {action}"}
                return self.answer_json(400, error, kind)
            return self.answer_json(200, service.call(action, request), kind)

    with serving(Api) as address:
        service.endpoint = f"http://{address}"
        try:
            yield service
        finally:
            for task in service.tasks:
                task.process.kill()
                task.process.wait()
