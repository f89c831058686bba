"""What is in the Debian packages, as their files say."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Dict, List, Set

import pytest
from lab import debs, repo

DEBIAN = repo.ROOT / "etc" / "debian"


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    if not shutil.which("dpkg-deb"):
        pytest.skip("dpkg-deb is missing: this is no Debian")
    if debs.missing():
        pytest.fail("there are no packages: run make deb, or set MAILDRAIN_DEBS")


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


def members(name: str) -> Dict[str, tarfile.TarInfo]:
    """The files and links of a package, by path."""
    archive = subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(debs.find(name))], stdout=subprocess.PIPE
    )
    with archive, tarfile.open(fileobj=archive.stdout, mode="r|") as tar:
        return {entry.name[1:]: entry for entry in tar if not entry.isdir()}


def field(name: str, key: str) -> str:
    return run("dpkg-deb", "--field", str(debs.find(name)), key).strip()


def conffiles(name: str) -> List[str]:
    """`dpkg-deb --info PACKAGE conffiles` of a package that has some."""
    return run("dpkg-deb", "--info", str(debs.find(name)), "conffiles").split()


def unit_names() -> Set[str]:
    kinds = ("service", "timer", "path")
    return {path.name for kind in kinds for path in (repo.ROOT / "systemd").glob(f"*.{kind}")}


def test_all_that_make_install_puts_somewhere_is_in_a_package(tmp_path: Path) -> None:
    subprocess.run(
        ["make", "--silent", "-C", str(repo.ROOT), f"DESTDIR={tmp_path}", "PREFIX=/usr",
         "PYTHONDIR=/usr/lib/python3/dist-packages", "install"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    installed = {f"/{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*") if path.is_file()}
    packaged = set(members("maildrain")) | set(members("python3-maildrain"))
    plain = {re.sub(r"(/man/.*)\.gz$", r"\1", path) for path in packaged}
    plain |= {f"/usr{path}" for path in plain if path.startswith("/lib/")}
    assert installed - plain == set()


def test_units_are_all_there() -> None:
    assert {Path(path).name for path in members("maildrain") if "/systemd/system/" in path} == (
        unit_names()
    )


def test_modes_and_owners() -> None:
    for name in debs.NAMES:
        for path, entry in members(name).items():
            executable = path == "/usr/sbin/maildrain"
            assert entry.issym() or entry.mode == (0o755 if executable else 0o644), path
            assert (entry.uid, entry.gid) == (0, 0), path


def test_conffiles() -> None:
    assert conffiles("maildrain") == ["/etc/maildrain.conf"]
    assert conffiles("maildrain-cron") == ["/etc/cron.d/maildrain"]


def test_config_is_the_example_and_inert() -> None:
    """Else a fresh install would try to send."""
    result = subprocess.run(
        [repo.program(), "-c", repo.ROOT / "etc" / "maildrain.conf", "verify", "--configured"],
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 78 and "not configured yet" in result.stderr


def test_mta_stands_in_for_another() -> None:
    for key in ("Provides", "Conflicts", "Replaces"):
        assert field("maildrain-mta", key) == "mail-transport-agent"
    links = {path: entry.linkname for path, entry in members("maildrain-mta").items()
             if entry.issym() and "/man/" not in path}  # fmt: skip
    assert links == {
        "/usr/sbin/sendmail": "maildrain",
        "/usr/lib/sendmail": "../sbin/maildrain",
        "/usr/bin/mailq": "../sbin/maildrain",
        "/usr/bin/newaliases": "../sbin/maildrain",
    }


def test_versions_agree() -> None:
    (makefile,) = re.findall(r"^VERSION := (.*)$", (repo.ROOT / "Makefile").read_text(), re.M)
    assert field("maildrain", "Version") == makefile
    backend = (repo.DJANGO_SOURCE / "maildrain" / "__init__.py").read_text()
    assert f'__version__ = "{makefile}"' in backend


def test_build_needs_what_the_makefile_needs() -> None:
    """The libraries in Build-Depends are those that "make deps" installs."""
    control = (DEBIAN / "control").read_text()
    deps = (repo.ROOT / "tests" / "deps.sh").read_text()
    (build,) = re.findall(r"^BUILD=\((.*?)\)", deps, re.M | re.S)
    libraries = {word for word in build.split() if re.fullmatch(r"lib.*-dev", word)}
    (needed,) = re.findall(r"^Build-Depends:\n((?: .*\n)+)", control, re.M)
    assert {word.strip(", ") for word in needed.split() if word.startswith("lib")} == (
        libraries - {"libc6-dev"}
    )


def test_lintian_finds_nothing() -> None:
    if not shutil.which("lintian"):
        pytest.skip("lintian is missing: install it")
    files = [str(debs.find(name)) for name in debs.NAMES]
    said = subprocess.run(
        ["lintian", "--allow-root", "--pedantic", "--show-overrides", *files],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    ).stdout  # fmt: skip
    assert not re.search(r"^[EW]: ", said, re.M), said
    # What is overridden, so that no override can be left over or creep in.
    overridden = re.findall(r"^O: (\S+): (\S+)", said, re.M)
    assert overridden == [("maildrain-cron", "missing-systemd-timer-for-cron-script")], said


def test_an_archive_is_built_where_names_have_blanks(tmp_path: Path) -> None:
    """Unpacked below a checkout of something else, which ignores it."""
    tree = tmp_path / "my projects" / "mail drain"
    skip = shutil.ignore_patterns("build", ".git", "__pycache__", ".pytest_cache")
    shutil.copytree(repo.ROOT, tree, symlinks=True, ignore=skip)
    (tmp_path / ".gitignore").write_text("*\n")
    run("git", "init", "--quiet", str(tmp_path))
    run(str(tree / "etc" / "debian" / "build.sh"))
    built = {path.name.partition("_")[0] for path in tree.glob("build/*.deb")}
    assert built == set(debs.NAMES)


def test_make_deb_installs_what_the_build_depends_on() -> None:
    """With what dpkg-buildpackage wants besides, and a fresh Debian has not."""
    provided = {"debhelper-compat": "debhelper", "dh-sequence-python3": "dh-python",
                "pkgconf": "pkg-config"}  # fmt: skip
    depends = re.search(r"(?m)^Build-Depends:\n((?: .*\n)+)", (DEBIAN / "control").read_text())
    assert depends
    names = re.findall(r"(?m)^ ([a-z0-9.+-]+)", depends[1])
    script = (repo.ROOT / "tests" / "deps.sh").read_text()
    arrays = re.findall(r"(?m)^(?:BUILD|DEB)=\(([^)]*)\)", script)
    installed = set(" ".join(arrays).split())
    assert {"build-essential", *(provided.get(name, name) for name in names)} <= installed
