"""What the pages of `cli/cluster` say, done by plain processes; the container file."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kubernetes_validate
import pytest
import yaml
from conftest import BUCKET, MIXFLOW, Place, Simulator, wait_for

CLUSTER = Path(__file__).parents[2] / "cluster"
CONTAINER = Path(__file__).parents[2] / "dist" / "Containerfile"


def blocks(page: str, language: str) -> list[str]:
    """Return the code of a page in a language."""
    text = (CLUSTER / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def jobs() -> list[dict[str, Any]]:
    """Return the two jobs of the page on Kubernetes."""
    return [yaml.safe_load(text) for text in blocks("kubernetes.md", "yaml")]


class Pods:
    """Runs what a job says as plain processes, each with folders of its own."""

    def __init__(self, place: Place, job: dict[str, Any]) -> None:
        self.place = place
        self.name = job["metadata"]["name"]
        self.spec = job["spec"]
        [self.container] = self.spec["template"]["spec"]["containers"]
        #: Processes that are there at the moment, by their indices.
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        #: All exit codes, by their indices.
        self.codes: dict[int, list[int]] = {}
        #: The most that were there at the same time.
        self.most = 0

    def command(self, index: int) -> list[str]:
        """Return the command line of a pod, its volumes being below the place."""
        mounts = [mount["mountPath"] for mount in self.container["volumeMounts"]]
        words = [str(word).replace("$(JOB_COMPLETION_INDEX)", str(index)) for word in self.container["args"]]
        inside = [any(word.startswith(f"{mount}/") for mount in mounts) for word in words]
        return [MIXFLOW, *(f"{self.place.folder}{word}" if at else word for word, at in zip(words, inside))]

    def run(self) -> None:
        """Run the pods of all indices, as many at a time as the job says."""
        with ThreadPoolExecutor(self.spec.get("parallelism", 1)) as pool:
            list(pool.map(self._until_done, range(self.spec.get("completions", 1))))

    def _until_done(self, index: int) -> None:
        """Do what the controller of jobs does."""
        self.codes[index] = []
        for _ in range(1 + self.spec.get("backoffLimitPerIndex", self.spec.get("backoffLimit"))):
            code = self._pod(index)
            self.codes[index].append(code)
            if code == 0:
                return
            assert code not in self._final(), f"the job has failed: pod {index} ended with {code}"
        raise AssertionError(f"pod {index} has failed too often: {self.codes[index]}")

    def _final(self) -> list[int]:
        rules = self.spec.get("podFailurePolicy", {"rules": []})["rules"]
        return [
            code for rule in rules if rule["action"] == "FailJob" for code in rule["onExitCodes"]["values"]
        ]

    def _pod(self, index: int) -> int:
        home = self.place.folder / f"{self.name}-{index}-{len(self.codes[index])}"
        home.mkdir()
        env = {**os.environ, "HOME": str(home), "MIXFLOW_STATE_DIR": str(home / "state")}
        # The logs of pods are looked at when the test fails.
        with subprocess.Popen(self.command(index), cwd=self.place.folder, env=env) as process:
            self.running[index] = process
            self.most = max(self.most, len(self.running))
            code = process.wait()
            del self.running[index]
        return code


def planned(place: Place, sim: Simulator, count: int) -> None:
    """Write the plan where pods find it."""
    place.pipeline("daily", sim, "3001", count)
    folder = place.folder / "plan"
    folder.mkdir()
    place.mixflow("plan", "daily.toml", "--output", str(folder / "plan.json"))


def test_the_job_of_kubernetes_fetches_all_units_though_a_pod_is_killed(bucket: Any, place: Place) -> None:
    units, commit = jobs()
    count = units["spec"]["completions"]
    sim = place.simulator("--latency", "700ms")
    planned(place, sim, count)
    assert f"s3://{BUCKET}/stage" in units["spec"]["template"]["spec"]["containers"][0]["args"]
    pods = Pods(place, units)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(pods.run)
        # In the middle, and while it waits for its answer.
        wait_for("request", lambda: any(one["query"]["from_date"] == "2024-01-04" for one in sim.requests()))
        killed = 3
        pods.running[killed].send_signal(signal.SIGKILL)
        done.result()
    assert pods.most == units["spec"]["parallelism"] == 3
    assert pods.codes == {index: [-9, 0] if index == killed else [0] for index in range(count)}
    # The one that was killed had asked.
    assert sim.count("3001") == count + 1

    committing = Pods(place, commit)
    committing.run()
    alone = place.simulator()
    place.mixflow("run", place.pipeline("plain", alone, "3001", count, db="plain.db"))
    rows = place.rows("out.db", "daily")
    assert len(rows) > 500
    assert rows == place.rows("plain.db", "plain")
    # Pods that begin anew, all of them, do nothing.
    before = len(sim.requests())
    for pod in range(count):
        subprocess.run(pods.command(pod), cwd=place.folder, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(committing.command(0), cwd=place.folder, check=True)
    assert len(sim.requests()) == before
    assert place.rows("out.db", "daily") == rows


def test_the_job_of_kubernetes_ends_where_another_pod_does_not_help(bucket: Any, place: Place) -> None:
    units, _ = jobs()
    sim = place.simulator()
    planned(place, sim, 2)
    pods = Pods(place, units)
    plan = place.folder / "plan" / "plan.json"
    plan.write_text(plan.read_text().replace("SIM_SECRET", "NO_SUCH_SECRET"))
    with pytest.raises(AssertionError, match="the job has failed: pod 0 ended with 2"):
        pods.run()


def test_the_jobs_are_what_kubernetes_takes() -> None:
    units, commit = jobs()
    for job in (units, commit):
        kubernetes_validate.validate(job, "1.33", strict=True)
    # What the container file says of user, folders and entry holds for both.
    container = CONTAINER.read_text()
    for job in (units, commit):
        pod = job["spec"]["template"]["spec"]
        assert f"USER 10001:{pod['securityContext']['fsGroup']}" in container
        [one] = pod["containers"]
        mounts = {mount["mountPath"] for mount in one["volumeMounts"]}
        assert mounts == {"/plan", "/data", "/tmp"}
        assert "command" not in one and 'ENTRYPOINT ["/usr/local/bin/mixflow"]' in container


@pytest.mark.parametrize("page", ["airflow.md", "dagster.md"])
def test_the_command_lines_of_the_other_pages_do_it_too(page: str, bucket: Any, place: Place) -> None:
    sim = place.simulator()
    place.pipeline("daily", sim, "3002", 2)
    [text] = blocks(page, "python")
    tree = ast.parse(text.replace("/mnt/plans", str(place.folder)))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    calls = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "mixflow"]
    constants: dict[str, Any] = {"PLAN": str(place.folder / "daily.json"), "STAGE": f"s3://{BUCKET}/{page}"}

    def run(call: ast.Call, **names: Any) -> None:
        words = [eval(ast.unparse(word), {**constants, **names}) for word in call.args]
        place.mixflow(*words)

    plan, unit, commit = calls
    run(plan)
    for index, planned in enumerate(json.loads((place.folder / "daily.json").read_text())["units"]):
        run(unit, index=index, context=SimpleNamespace(partition_key=planned["key"]))
    run(commit)
    assert len(sim.requests()) == 2
    assert len(place.rows("out.db", "daily")) > 200


def test_the_container_file_is_as_linters_want_it() -> None:
    ran = subprocess.run(
        ["hadolint", "--no-color", str(CONTAINER)], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "")
