"""No engine builds the image here; what would break it quietly is read from its files."""

import re
import subprocess
import tomllib
from pathlib import Path

import yaml

from app.config import Settings

ROOT = Path(__file__).parent.parent


def test_torch_is_the_same_everywhere_and_comes_before_what_depends_on_it() -> None:
    pins = {name: re.findall(r"torch==(\S+)", (ROOT / name).read_text("utf8")) for name in PLACES}
    assert pins == {name: ["2.13.0"] for name in PLACES}
    for name in ("Makefile", "Dockerfile"):
        written = (ROOT / name).read_text("utf8")
        assert written.index("install --quiet torch" if name == "Makefile" else "torch==") < written.index(
            "--constraint"
        )


def test_image_runs_as_nobody_special_and_copies_what_is_there() -> None:
    lines = (ROOT / "Dockerfile").read_text("utf8").splitlines()
    assert sum(line.startswith("FROM ") for line in lines) == 2
    (user,) = (line.removeprefix("USER ") for line in lines if line.startswith("USER "))
    assert int(user) > 0
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf8").splitlines() if line.startswith("!")}
    copied = {
        name for line in lines if line.startswith("COPY ") and "--from" not in line for name in line.split()[1:-1]
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)


def test_image_has_the_extras_that_it_is_built_with() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text("utf8")
    assert dockerfile.index("\nARG EXTRAS=\n") > dockerfile.index("COPY app app")
    (install,) = re.findall(r"^RUN pip (install .+ --constraint .+)$", dockerfile, re.MULTILINE)
    for extras, source in (("", "."), ("ray,s3", ".[ray,s3]")):
        shell = ["sh", "-c", f"echo {install}"]
        told = subprocess.run(shell, env={"EXTRAS": extras}, capture_output=True, text=True, check=True).stdout
        assert told.split()[-1] == source
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]["optional-dependencies"]
    documented = re.findall(r"--build-arg EXTRAS=(\S+)", (ROOT / "docs/archive.md").read_text("utf8"))
    assert documented
    assert {extra for named in documented for extra in named.split(",")} <= set(known)


def test_compose_sets_only_settings_that_exist() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text("utf8"))["services"]
    assert set(services) == {"service", "worker", "database"}
    known = {f"CALLAUDIT_{name.upper()}" for name in Settings.model_fields}
    for name in ("service", "worker"):
        assert set(services[name]["environment"]) <= known
        assert services[name]["command"][0] in ("serve", "worker")


PLACES = ("Makefile", "Dockerfile", "constraints.txt")
