"""The workflows and hooks: they parse, call what exists, and ask for no more than they need."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request):
    return yaml.safe_load(request.param.read_text(encoding="utf-8"))


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def commands(text):
    """Return the targets of each `make` in a script."""
    return [word for words in re.findall(r"\bmake ([a-z ]+)", text) for word in words.split()]


def test_there_are_the_three():
    assert [path.stem for path in WORKFLOWS] == ["publish", "test", "weekly"]


def test_workflow_is_complete_and_modest(workflow):
    assert workflow["name"]
    assert workflow[True]  # `on`, which YAML 1.1 reads as a boolean
    assert workflow["permissions"]["contents"] == "read"
    writes = {scope for scope, level in workflow["permissions"].items() if level == "write"}
    assert writes <= ({"pages", "id-token"} if workflow["name"] == "publish" else set())
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60


def test_actions_are_pinned(workflow):
    used = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert used[0].startswith("actions/checkout@")
    for name in used:
        assert re.fullmatch(r"actions/[a-z-]+@v[0-9]+", name), name


def test_make_targets_and_files_exist(workflow):
    scripts = [step["run"] for step in steps(workflow) if "run" in step]
    assert scripts
    for script in scripts:
        assert set(commands(script)) <= TARGETS, script
        for path in re.findall(r"(?:\.ci|tests|chapters|tools)/[\w./*]*", script):
            assert list(ROOT.glob(path)), path


def test_weekly_tries_what_commits_do_not_and_only_two_may_fail():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "weekly.yml").read_text(encoding="utf-8"))["jobs"]
    assert {name for name, job in jobs.items() if job.get("continue-on-error")} == {"escape", "links"}
    tried = {row["name"]: row["python"] for row in jobs["versions"]["strategy"]["matrix"]["include"]}
    assert tried == {"oldest": "3.11", "newest": "3.13"}
    assert set(tried) <= TARGETS
    called = [word for job in jobs.values() for step in job["steps"] for word in commands(step.get("run", ""))]
    assert {"colab", "validate", "lighthouse", "pdf", "epub", "slides", "students"} <= set(called)
    assert {"escape", "links", "environment"} <= set(called)


def test_publishing_deploys_what_make_book_wrote():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8"))
    used = [step.get("uses", step.get("run", "")) for step in steps(workflow)]
    order = [
        next(i for i, name in enumerate(used) if part in name) for part in ("make book", "upload-pages", "deploy")
    ]
    assert order == sorted(order)
    [upload] = [step for step in steps(workflow) if "upload-pages" in step.get("uses", "")]
    assert upload["with"]["path"] == "_build/html"


def test_ci_calls_what_exists():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    called = [line for line in script.splitlines() if line.startswith("make ")]
    assert called == ["make lint", "make test"]
    assert {"lint", "test"} <= TARGETS


def test_hooks_use_the_pinned_ruff_and_existing_targets():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    ruff, local = hooks
    version = re.search(r"^ruff==(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert version
    assert ruff["rev"] == f"v{version[1]}"
    assert [hook["id"] for hook in ruff["hooks"]] == ["ruff-check", "ruff-format"]
    [hook] = local["hooks"]
    assert hook["entry"] == "make check"
    for name in ("chapters/05.md", "src/transformer_book/attention.py", "_config.yml", "CONTRIBUTING.md"):
        assert re.search(hook["files"], name), name
