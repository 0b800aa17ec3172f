"""What developers and CI run: `python3 noxfile.py SESSION [ARGUMENT ...]`, or `nox -s SESSION`.

As a script it needs nothing but Python with its venv module: it first makes itself an environment
with the pinned nox and uv. All sessions share `.venv`, and what you install there yourself stays.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
TOOLS = ROOT / ".nox" / "tools"
VENV = ROOT / ".venv"
BIN = "Scripts" if os.name == "nt" else "bin"


def locked(name: str) -> Path:
    return ROOT / "requirements" / f"{name}.txt"


def fingerprint(*parts: Path | str) -> str:
    """Digest what an environment is made from: texts, and the contents of files."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode()
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def holds(stamp: Path, state: str) -> bool:
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == state


def tool(name: str) -> str:
    """Return the path of the pinned nox or uv, after installing both if they are not there."""
    stamp, state = TOOLS / "installed", fingerprint(sys.version, locked("nox"))
    if not holds(stamp, state):
        print("Making an environment for nox and uv", file=sys.stderr)
        venv.create(TOOLS, clear=True, symlinks=os.name != "nt", with_pip=True)
        pip = [TOOLS / BIN / "python", "-m", "pip", "install", "--disable-pip-version-check", "-qq"]
        subprocess.run([*pip, "--require-hashes", "-r", locked("nox")], check=True)
        stamp.write_text(state, encoding="utf-8")
    return str(TOOLS / BIN / name)


if __name__ == "__main__":
    arguments = sys.argv[1:] or ["--list"]
    if not arguments[0].startswith("-"):
        session_name, *rest = arguments
        arguments = ["-s", session_name, "--", *(rest[1:] if rest[:1] == ["--"] else rest)]
    # In place of this process, so that signals reach nox and its exit code is ours.
    os.execv(tool("nox"), ["nox", "-f", __file__, *arguments])

import nox  # the script above makes it importable

nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "none"

# A Python that is not here is an error to mend, not a reason to download one.
UV = {"UV_PYTHON_DOWNLOADS": "never"}


def members() -> dict[str, Path]:
    """Return the folder of each distribution by its name, the core's first."""
    projects = [ROOT / "pyproject.toml", *sorted(ROOT.glob("[pc]*/coe-*/pyproject.toml"))]
    return {project(path.parent)["name"]: path.parent for path in projects}


def project(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def standard_members() -> dict[str, Path]:
    wanted = project(ROOT)["optional-dependencies"]["standard"]
    names = {"coe-core", *(requirement.partition(">=")[0] for requirement in wanted)}
    return {name: folder for name, folder in members().items() if name in names}


def run(session: nox.Session, command: str, *arguments: str | Path, **options: object) -> None:
    session.run(VENV / BIN / command, *arguments, **options)


def make_venv(session: nox.Session, lock: str = "dev") -> None:
    """Bring `.venv` up to the lock, unless it says that it is.

    An existing `.venv` keeps its Python, and packages are never removed, only added or changed.
    """
    python = VENV / BIN / "python"
    if not python.exists():  # also when the Python that it points to has gone
        session.run(tool("uv"), "venv", "--allow-existing", "--python", sys.executable, VENV, env=UV)
    folders = standard_members() if lock == "standard" else members()
    projects = [folder / "pyproject.toml" for folder in folders.values()]
    stamp = VENV / f"installed-{lock}"
    state = fingerprint(VENV / "pyvenv.cfg", locked(lock), *projects)
    if holds(stamp, state):
        return
    install = [tool("uv"), "pip", "install", "--python", python, "--compile-bytecode"]
    session.run(*install, "--require-hashes", "-r", locked(lock), env=UV)
    editables = [part for folder in folders.values() for part in ("-e", folder)]
    session.run(*install, "--no-deps", "--no-build-isolation", *editables, env=UV)
    stamp.write_text(state, encoding="utf-8")


def install_system_packages(session: nox.Session, **packages: str) -> None:
    """Install the Debian packages of the commands that are missing, where we may.

    Elsewhere the tests that need them skip and say so; with CI set, a skipped test fails.
    """
    missing = [package for command, package in packages.items() if not shutil.which(command)]
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        session.run("apt-get", "-qq", "update")
        session.run("apt-get", "-qq", "install", "--no-install-recommends", *missing, env=quiet)


@nox.session
def dev(session: nox.Session) -> None:
    """Make .venv with every member and the tools for developing; then .venv/bin/coe works."""
    make_venv(session)


@nox.session
def serve(session: nox.Session) -> None:
    """Make .venv with the standard plugins, fetch the bundled models, start the server."""
    make_venv(session, "standard")
    run(session, "coe", "models", "pull")
    # In nox's place: nox would kill it half a second after Ctrl-C, in the midst of its turns.
    os.execv(VENV / BIN / "coe", ["coe", "serve", *session.posargs])


@nox.session
def tests(session: nox.Session) -> None:
    """Run what CI runs: lint, types, and all tests but the heavy ones that have a session."""
    lint(session)
    types(session)
    run(session, "pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and who imports whom."""
    make_venv(session)
    run(session, "ruff", "check")
    run(session, "ruff", "format", "--check")
    run(session, "lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    make_venv(session)
    run(session, "mypy", "coe_core", *sorted(ROOT.glob("[pc]*/coe-*/src")))


@nox.session
def docs(session: nox.Session) -> None:
    """Check the documentation alone: snippets run, the reference matches the code."""
    make_venv(session)
    run(session, "pytest", "tests/docs", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Run the whole matrix of faults, of which `tests` runs a sample."""
    make_venv(session)
    run(session, "pytest", "-m", "faults", *session.posargs)


@nox.session
def clients(session: nox.Session) -> None:
    """Let the clients people use talk to a server of ours, from an environment of their own."""
    install_system_packages(session, node="nodejs", npm="npm")
    make_venv(session)
    folder, python = ROOT / "tests" / "clients", TOOLS.with_name("clients") / BIN / "python"
    session.run(tool("uv"), "venv", "--clear", "-p", VENV / BIN / "python", python.parents[1], env=UV)
    install = [tool("uv"), "pip", "install", "--python", python, "--require-hashes"]
    session.run(*install, "-r", locked("clients"), env=UV)
    session.run("npm", "ci", "--prefix", folder)
    session.run(python, "-m", "pytest", folder, *session.posargs)


@nox.session
def package(session: nox.Session) -> None:
    """Build each wheel, install it alone in a clean environment, import it, run its suite."""
    make_venv(session)
    dist, clean = ROOT / "dist", TOOLS.with_name("package")
    shutil.rmtree(dist, ignore_errors=True)
    build = [tool("uv"), "build", "--no-build-isolation", "--python", VENV, "--out-dir", dist]
    for folder in members().values():
        session.run(*build, folder, env=UV)
    load = "from importlib.metadata import entry_points as e; [p.load() for p in e(group='coe.plugins')]"
    for name, folder in members().items():
        session.run(tool("uv"), "venv", "--clear", "--python", VENV / BIN / "python", clean, env=UV)
        install = [tool("uv"), "pip", "install", "--python", clean, "--no-sources"]
        install += ["--find-links", dist, "--constraints", locked("dev")]
        session.run(*install, name, env=UV)
        session.run(clean / BIN / "python", "-I", "-c", load)
        session.run(*install, "coe-core[testing]", env=UV)
        suite = folder / "tests" / ("core" if folder == ROOT else "")
        session.run(clean / BIN / "pytest", suite, *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure; arguments choose from bench/ by name, without them all."""
    make_venv(session)
    for name in session.posargs or sorted(path.stem for path in ROOT.glob("bench/*.py")):
        run(session, "python", f"bench/{name}.py")


@nox.session
def models(session: nox.Session) -> None:
    """Fetch the bundled models into the cache."""
    make_venv(session, "standard")
    run(session, "coe", "models", "pull", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Write requirements/ anew from the members' pyproject.toml; `-- --upgrade` takes newer ones."""
    contrib = sorted(folder / "pyproject.toml" for folder in ROOT.glob("contrib/*"))
    inputs = {
        "nox": ["--group", "nox"],
        "standard": ["pyproject.toml", "--extra", "standard", "--group", "base"],
        "dev": [
            *["pyproject.toml", *(str(path.relative_to(ROOT)) for path in contrib)],
            *["--all-extras", "--group", "base", "--group", "dev"],
            *["--constraints", "requirements/standard.txt"],
        ],
        "clients": ["--group", "clients"],
        "models": ["--group", "models", "--no-deps"],
    }
    # Nothing of this machine or its index may show in what is committed.
    compile_ = [tool("uv"), "pip", "compile", "--quiet", "--no-header", "--no-emit-index-url"]
    compile_ += ["--no-emit-find-links", "--annotation-style", "line", "--generate-hashes"]
    compile_ += ["--universal", "--python-version", "3.11"]
    compile_ += [part for name in members() for part in ("--no-emit-package", name)]
    for name, arguments in inputs.items():
        output = ["--output-file", locked(name).relative_to(ROOT)]
        session.run(*compile_, *arguments, *output, *session.posargs, env=UV, silent=True)
