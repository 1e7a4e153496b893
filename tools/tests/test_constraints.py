"""constraints.txt: complete, public, and what `make constraints` writes."""

import re
import sysconfig
from importlib import metadata
from pathlib import Path

import constraints
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
#: Not sys.path: what setuptools brings along for itself comes onto it once setuptools is imported.
SITE = sysconfig.get_path("purelib")
PINS = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements():
    """Name and version of each pin in requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "-c constraints.txt"
    assert lines[-1] == "-e ."
    bare = [line.partition("#")[0].strip() for line in lines[1:-1]]
    return [tuple(line.split("==")) for line in bare if line]


def test_lines_left_out_and_kept():
    frozen = "\n".join(
        [
            "-e /somewhere/book",
            "# Editable install with no version control (transformer-book==0.1.0)",
            "book @ file:///somewhere/book",
            "torch==2.13.0+cpu",
            "nvidia-cudnn-cu13==9.1",
            "cuda-bindings==13.0",
            "triton==3.5",
            "Jinja2==3.1.6",
        ]
    )
    text = constraints.constraints(frozen)
    assert text.splitlines()[0].startswith("#")
    assert text.splitlines()[1:] == ["jinja2==3.1.6", "torch==2.13.0"]
    assert constraints.constraints(text) == text


def test_every_line_is_a_public_pin_and_stands_once():
    for pin in PINS:
        assert re.fullmatch(r"[a-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin), pin
    names = [canonical(pin.partition("==")[0]) for pin in PINS]
    assert len(names) == len(set(names))
    assert not [name for name in names if name.startswith(("nvidia", "cuda", "triton", "transformer-book"))]


def test_every_requirement_is_pinned_and_its_pin_is_the_one_constrained():
    pinned = requirements()
    assert len(pinned) > 10
    for name, version in pinned:
        assert f"{name.lower()}=={version}" in PINS


@pytest.mark.parametrize("python", ["3.11", "3.13"])
def test_file_is_closed_under_dependencies(python):
    """Whatever a listed package asks for on Linux is listed: nothing is left for pip to choose."""
    listed = {canonical(pin.partition("==")[0]) for pin in PINS}
    machine = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "extra": "",
        "sys_platform": "linux",
    }
    for name in sorted(listed):
        for requirement in map(Requirement, metadata.requires(name) or ()):
            asked = not requirement.marker or requirement.marker.evaluate({**machine, "platform_system": "Linux"})
            if asked and not constraints.CUDA_ONLY.match(requirement.name):
                assert canonical(requirement.name) in listed, f"{name}: {requirement}"


@pytest.mark.parametrize("python", ["3.11.2", "3.13.0"])
def test_every_package_allows_the_oldest_and_the_newest_python(python):
    """3.11.2 is what Debian 12 has."""
    for pin in PINS:
        name = pin.partition("==")[0]
        assert SpecifierSet((metadata.metadata(name).get_all("Requires-Python") or [""])[0]).contains(python), pin


def test_environment_holds_what_is_listed():
    """`make constraints` in the environment that the file made writes the same file."""
    installed = {canonical(package.name): package.version for package in metadata.distributions(path=[SITE])}
    assert {canonical(name) for name, _ in requirements()} <= set(installed)
    for pin in PINS:
        name, version = pin.split("==")
        assert installed.get(canonical(name), version).partition("+")[0] == version
