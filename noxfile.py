"""What developers and CI run: `python3 noxfile.py SESSION [ARGUMENT ...]`, or `nox -s SESSION`.

As a script it needs nothing but Python with its venv module: it first makes itself an environment
with the pinned nox and uv. All sessions share `.venv`, and what you install there yourself stays.
"""

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 this is where a person with an older one is told
    sys.exit("CoE needs Python 3.11, 3.12 or 3.13: run this file with one of them")
import tomllib

ROOT = Path(__file__).resolve().parent
TOOLS = ROOT / ".nox" / "tools"
VENV = ROOT / ".venv"
BIN = "Scripts" if os.name == "nt" else "bin"


def locked(name: str) -> Path:
    """Return the lock of this name."""
    return ROOT / "requirements" / f"{name}.txt"


def fingerprint(*parts: Path | str) -> str:
    """Digest what an environment is made from: texts, and the contents of files."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode()
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def holds(stamp: Path, state: str) -> bool:
    """Tell whether an environment is in this state already."""
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == state


def tool(name: str) -> str:
    """Return the path of the pinned nox or uv, after installing both if they are not there."""
    stamp, state = TOOLS / "installed", fingerprint(sys.version, locked("nox"))
    if not holds(stamp, state):
        print("Making an environment for nox and uv", file=sys.stderr)
        venv.create(TOOLS, clear=True, symlinks=os.name != "nt", with_pip=True)
        pip = [TOOLS / BIN / "python", "-m", "pip", "install", "--disable-pip-version-check", "-q"]
        made = subprocess.run([*pip, "--require-hashes", "-r", locked("nox")], check=False)
        if made.returncode:  # and pip has said why
            sys.exit(made.returncode)
        stamp.write_text(state, encoding="utf-8")
    return str(TOOLS / BIN / name)


if __name__ == "__main__":
    arguments = sys.argv[1:] or ["--list"]
    if not arguments[0].startswith("-"):
        session_name, *rest = arguments
        arguments = ["-s", session_name, "--", *(rest[1:] if rest[:1] == ["--"] else rest)]
    # In place of this process, so that signals reach nox and its exit code is ours.
    os.execv(tool("nox"), ["nox", "-f", __file__, *arguments])

import nox  # there by now: the script above ended in a nox that reads this file again

nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "none"
# Tests start Python by the hundred, and ours is not installed compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def uv(session: nox.Session, *arguments: str | Path) -> None:
    """Run the pinned uv; a Python that is not here is an error to mend, not one to download."""
    session.run(tool("uv"), *arguments, env={"UV_PYTHON_DOWNLOADS": "never"})


def run(session: nox.Session, command: str, *arguments: str | Path) -> None:
    """Run a command of `.venv`."""
    session.run(VENV / BIN / command, *arguments)


def described(folder: Path) -> dict[str, dict[str, object]]:
    """Read a distribution's pyproject.toml."""
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def project(folder: Path) -> dict[str, object]:
    """Read what a distribution says of itself."""
    return described(folder)["project"]


def members() -> dict[str, Path]:
    """Return every distribution's folder by name, the core's first."""
    return {"coe-core": ROOT, **{folder.name: folder for folder in sorted(ROOT.glob("*/coe-*/"))}}


def standard_members() -> dict[str, Path]:
    """Return what `coe-core[standard]` consists of."""
    requirements = project(ROOT)["optional-dependencies"]["standard"]
    names = ["coe-core", *(requirement.partition(">=")[0] for requirement in requirements)]
    return {name: members()[name] for name in names}


def make_venv(session: nox.Session, lock: str = "dev") -> None:
    """Bring `.venv` up to a lock, unless it is there already, or at the wider one.

    An existing `.venv` keeps its Python, and packages are never removed, only added or changed.
    """
    python = VENV / BIN / "python"
    if not python.exists():  # also when the Python that it points to has gone
        uv(session, "venv", "--allow-existing", "--python", sys.executable, VENV)
    projects = [folder / "pyproject.toml" for folder in members().values()]
    states = {
        name: fingerprint(VENV / "pyvenv.cfg", locked(name), *projects) for name in (lock, "dev")
    }
    if any(holds(VENV / f"installed-{name}", state) for name, state in states.items()):
        return
    install = ["pip", "install", "--python", python]
    uv(session, *install, "--compile-bytecode", "--require-hashes", "-r", locked(lock))
    folders = standard_members() if lock == "standard" else members()
    editables = [part for folder in folders.values() for part in ("--editable", folder)]
    uv(session, *install, "--no-deps", "--no-build-isolation", *editables)
    (VENV / f"installed-{lock}").write_text(states[lock], encoding="utf-8")


def make_clean_venv(session: nox.Session, name: str) -> Path:
    """Make an empty environment beside the tools', on the Python of `.venv`."""
    folder = TOOLS.with_name(name)
    uv(session, "venv", "--clear", "--python", VENV / BIN / "python", folder)
    return folder


def install_system_packages(session: nox.Session, **packages: str) -> None:
    """Install the Debian packages of the commands that are missing, where we may.

    Elsewhere the tests that need them skip and say so; with CI=true a skip is a failure.
    """
    lacking = [some for command, some in packages.items() if not shutil.which(command)]
    missing = " ".join(lacking).split()
    if missing and shutil.which("apt-get") and os.geteuid() == 0:
        session.run("apt-get", "-qq", "update")
        install = ["apt-get", "-qq", "install", "--no-install-recommends"]
        session.run(*install, *missing, env={"DEBIAN_FRONTEND": "noninteractive"})


@nox.session
def dev(session: nox.Session) -> None:
    """Make .venv with every member and the development tools; then .venv/bin/coe works."""
    make_venv(session)


@nox.session
def serve(session: nox.Session) -> None:
    """Make .venv with the standard plugins, fetch the bundled models, start the server."""
    make_venv(session, "standard")
    run(session, "coe", "models", "pull")
    # In nox's place, which would kill it half a second after Ctrl-C, in the midst of its turns.
    os.execv(VENV / BIN / "coe", ["coe", "serve", *session.posargs])


@nox.session
def tests(session: nox.Session) -> None:
    """Run what CI runs: lint, types and all tests but the heavy ones."""
    lint(session)
    types(session)
    debian = {"cc": "build-essential", "pg_createcluster": "postgresql", "promtool": "prometheus"}
    install_system_packages(session, jq="jq", sqlite3="sqlite3", **debian)
    run(session, "pytest", "-n", "2", "--dist", "worksteal", *session.posargs)


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
    run(session, "mypy", "coe_core", *sorted(ROOT.glob("*/coe-*/src")))


@nox.session
def docs(session: nox.Session) -> None:
    """Check the documentation alone; `--write` first writes the reference anew from the code."""
    install_system_packages(session, jq="jq", sqlite3="sqlite3")
    make_venv(session)
    arguments = [argument for argument in session.posargs if argument != "--write"]
    if arguments != session.posargs:
        run(session, "python", "docs/generate.py")
    run(session, "pytest", "tests/docs", *arguments)


@nox.session
def faults(session: nox.Session) -> None:
    """Run the whole matrix of faults, of which `tests` runs a sample, and print the figures."""
    install_system_packages(session, cc="build-essential")
    make_venv(session)
    run(session, "pytest", "-m", "faults", *session.posargs)


@nox.session
def clients(session: nox.Session) -> None:
    """Let the clients that people use, in an environment of their own, talk to our server."""
    install_system_packages(session, node="nodejs", npm="npm")
    make_venv(session)
    folder, clean = ROOT / "tests" / "clients", make_clean_venv(session, "clients")
    uv(session, "pip", "install", "-p", clean, "--require-hashes", "-r", locked("clients"))
    session.run("npm", "ci", "--prefix", folder)
    litellm = folder / "test_litellm.py"  # its openai is older than what the others use
    session.run(clean / BIN / "pytest", "-rsx", folder, f"--ignore={litellm}", *session.posargs)
    run(session, "pytest", litellm, *session.posargs)


@nox.session
def ui(session: nox.Session) -> None:
    """Let a real browser look at the console; screenshots are left in tests/ui/screenshots."""
    install_system_packages(session, node="nodejs", npm="npm", chromium="chromium fonts-noto-cjk")
    make_venv(session)
    folder, clean = ROOT / "tests" / "ui", make_clean_venv(session, "ui")
    uv(session, "pip", "install", "-p", clean, "--require-hashes", "-r", locked("ui"))
    session.run("npm", "ci", "--prefix", folder)
    run(session, "coe", "models", "pull")
    session.run(clean / BIN / "pytest", folder, *session.posargs)


@nox.session
def wheels(session: nox.Session) -> None:
    """Build every distribution into dist/."""
    make_venv(session)
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    for folder in members().values():
        uv(session, "build", "--no-build-isolation", "-p", VENV, "--out-dir", ROOT / "dist", folder)


@nox.session
def package(session: nox.Session) -> None:
    """Build each wheel, install it alone in a clean environment, load it, run its suite."""
    install_system_packages(session, pg_createcluster="postgresql")
    wheels(session)
    dist = ROOT / "dist"
    (core,) = dist.glob("coe_core-*.whl")
    load = "import coe_core, importlib.metadata as m; "
    load += "[plugin.load() for plugin in m.entry_points(group='coe.plugins')]"
    for name, folder in members().items():
        (wheel,) = dist.glob(f"{name.replace('-', '_')}-*.whl")
        clean = make_clean_venv(session, "package")
        install = ["pip", "install", "-p", clean, "--no-sources", "-c", locked("dev")]
        uv(session, *install, wheel, core)
        session.run(clean / BIN / "python", "-I", "-c", load)
        uv(session, *install, f"coe-core[testing] @ {core.as_uri()}", "--group", "dev")
        if folder != ROOT and (extras := optional(folder)):
            uv(session, *install, f"{name}[{','.join(extras)}] @ {wheel.as_uri()}")
        if folder != ROOT and "tests" in groups(folder):
            beside = ["--find-links", dist, "--group", f"{folder / 'pyproject.toml'}:tests"]
            uv(session, *install, *beside)
        suite = ROOT / "tests" / "core" if folder == ROOT else folder / "tests"
        session.run(clean / BIN / "pytest", suite, *session.posargs)
    run(session, "pytest", "-m", "network", *session.posargs)


def optional(folder: Path) -> list[str]:
    """Name a member's extras, which its suite tests too."""
    return sorted(project(folder).get("optional-dependencies", {}))


def groups(folder: Path) -> list[str]:
    """Name a member's dependency groups: `tests` is what its suite wants beside it."""
    return sorted(described(folder).get("dependency-groups", {}))


@nox.session
def bench(session: nox.Session) -> None:
    """Measure; arguments choose from bench/ by name, and what begins with a dash goes on to it."""
    make_venv(session)
    names = list(itertools.takewhile(lambda argument: argument[:1] != "-", session.posargs))
    options = session.posargs[len(names) :]
    for name in names or sorted(script.stem for script in ROOT.glob("bench/*.py")):
        script = ROOT / "bench" / name  # a folder with a `__main__`, or a file
        run(session, "python", script if script.is_dir() else script.with_suffix(".py"), *options)


@nox.session
def models(session: nox.Session) -> None:
    """Fetch the bundled models into the cache."""
    make_venv(session, "standard")
    run(session, "coe", "models", "pull", *session.posargs)


@nox.session
def lock(session: nox.Session) -> None:
    """Write requirements/ from the pyproject.toml files; `--upgrade` as argument takes newer."""
    os.chdir(ROOT)  # so that paths are relative: nothing of this machine may show in a lock
    contrib = sorted(str(path) for path in Path().glob("contrib/*/pyproject.toml"))
    every_member = ["pyproject.toml", *contrib, "--all-extras"]
    inputs = {
        "nox": ["--group", "nox"],
        "standard": ["pyproject.toml", "--extra", "standard", "--group", "base"],
        "dev": [
            *every_member,
            "--group",
            "base",
            "--group",
            "dev",
            "-c",
            "requirements/standard.txt",
        ],
        "clients": ["--group", "clients"],
        "ui": ["--group", "ui"],
        "models": ["--group", "models", "--no-deps"],
    }
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header"]
    options += ["--no-emit-index-url", "--no-emit-find-links", "--annotation-style", "line"]
    options += [part for name in members() for part in ("--no-emit-package", name)]
    for name, sources in inputs.items():
        output = ["--quiet", "--output-file", f"requirements/{name}.txt"]
        uv(session, "pip", "compile", *options, *sources, *output, *session.posargs)
