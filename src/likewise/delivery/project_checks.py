"""Checks of a project: params, git, DVC and its remote, the MLflow store, Prefect, locks, what was left half done."""

from __future__ import annotations

import base64
import importlib.util
import os
import socket
import sqlite3
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from likewise.config import ConfigError, load_params, main_checkout
from likewise.delivery import checkout, moved, rebuilding, tracking
from likewise.delivery.dvc_lock import LOCK_FILE
from likewise.delivery.examination import Finding
from likewise.delivery.store import CHAMPION

PATIENCE = 2.0
"""Seconds that a server has to answer."""
STAGED = ("data", "models", "reports")


def params(root: Path) -> Iterator[Finding]:
    """Check the whole of params.yaml."""
    try:
        load_params(root)
    except ConfigError as error:
        for line in str(error).splitlines():
            yield Finding("params", "problem", line, "mend params.yaml; `likewise check` tries it")
    else:
        yield Finding("params", "ok", "params.yaml is complete and fits")


def git(root: Path) -> Iterator[Finding]:
    """Look whether a commit holds the pipeline, so that versions can be tagged with it."""
    commit = checkout.head(root)
    if commit is None:
        do = "git init && git add -A && git commit: a version's lineage then has a commit"
        yield Finding("git", "note", "no commit here", do)
    elif not checkout.git(root, "ls-files", LOCK_FILE):
        do = f"after `dvc repro`: git add {LOCK_FILE} && git commit"
        yield Finding("git", "note", f"commit {commit[:12]} does not hold {LOCK_FILE}", do)
    elif checkout.dirty(root):
        do = "commit, then `likewise register` tags the version with the commit"
        yield Finding("git", "note", f"files differ from commit {commit[:12]}", do)
    else:
        yield Finding("git", "ok", f"commit {commit[:12]}, which holds {LOCK_FILE}")


def dvc(root: Path) -> Iterator[Finding]:
    """Look for DVC's remote, and whether a DVC command is running."""
    main = main_checkout(root)
    if not (main / ".dvc").is_dir():
        yield Finding("dvc", "problem", "there is no .dvc folder", "run this in a clone of the project, or `dvc init`")
        return
    found = rebuilding.remote(main)
    if found is None:
        do = "dvc remote add -d storage URL; then `dvc push --run-cache` after every run"
        yield Finding("dvc", "note", "no remote: nobody else can restore what the stages wrote", do)
    else:
        yield _reached(main, *found)
    if _held(main / ".dvc/tmp/lock"):
        yield Finding("dvc", "note", "a DVC command is running here", "wait for it: `dvc --wait-for-lock repro`")


def mlflow(root: Path) -> Iterator[Finding]:
    """Look whether the tracking store and the registry are there, and whether they know where their files are."""
    uri = tracking.tracking_uri(root)
    if uri.startswith(tracking.SQLITE):
        yield from _sqlite(uri)
    elif uri.startswith("http"):
        yield _server("mlflow", f"{uri.rstrip('/')}/version", shown=uri, own=installed("mlflow"), access=_of_mlflow())
    else:
        yield _database(uri)
    if _held(main_checkout(root) / ".likewise/registry.lock"):
        yield Finding("mlflow", "note", "a registration is running here", "wait for it")


def prefect() -> Iterator[Finding]:
    """Look whether the Prefect server that is named answers; its `health` asks for no login, `admin/version` does."""
    url = os.environ.get("PREFECT_API_URL", "")
    if url:
        yield _server("prefect", f"{url.rstrip('/')}/admin/version", shown=url, access=_of_prefect())
    else:
        yield Finding(
            "prefect", "ok", "no server is named (PREFECT_API_URL); flows start one of their own while they run"
        )


def leftovers(root: Path) -> Iterator[Finding]:
    """Look for files of writes that were cut short."""
    found = [path for name in STAGED for path in (root / name).rglob(".*.partial")]
    if found:
        told = f"{len(found)} files of writes that were cut short, such as {found[0].relative_to(root)}"
        yield Finding("leftovers", "note", told, "delete them, unless a stage is running now")
    else:
        yield Finding("leftovers", "ok", "none")


def _sqlite(uri: str) -> Iterator[Finding]:
    file = Path(uri.removeprefix(tracking.SQLITE))
    if not file.is_file():
        yield Finding("mlflow", "note", f"no store {file} yet", "`make repro` makes it, and registers a model")
        return
    try:
        old, champions = moved.left_behind(uri), _champions(file)
    except sqlite3.Error as error:
        do = f"move {file.name} away and run `likewise register`: it makes a new one with this model"
        yield Finding("mlflow", "problem", f"{file}: {error}", do)
        return
    if old is not None:
        told = f"the store was moved: it still names {old}"
        yield Finding("mlflow", "problem", told, "`likewise register` puts it right")
    else:
        yield Finding("mlflow", "ok", f"{file}, {champions} models with a champion")


DRIVERS = {"postgresql": ("psycopg", "psycopg[binary]", 5432), "mysql": ("pymysql", "pymysql", 3306)}
"""Of a kind of database: the module that MLflow needs where the address names none (PostgreSQL's is what SQLAlchemy
takes from 2.1 on), the package that has it, and the usual port."""


def _database(uri: str) -> Finding:
    place = urlsplit(uri)
    kind, _, driver = place.scheme.partition("+")
    module, package, port = DRIVERS.get(kind, ("", "", 0))
    told = f"{kind} at {place.hostname}"
    if not module or place.hostname is None:
        return Finding(
            "mlflow", "note", f"{place.scheme or 'nothing'} is no store that is known here", "see MLflow's help"
        )
    if importlib.util.find_spec(driver or module) is None:
        return Finding(
            "mlflow", "problem", f"{told} needs the driver {driver or module}", f"pip install {driver or package}"
        )
    try:
        socket.create_connection((place.hostname, place.port or port), timeout=PATIENCE).close()
    except OSError as error:
        return Finding("mlflow", "problem", f"{told} does not answer ({error})", "start it, or set MLFLOW_TRACKING_URI")
    return Finding("mlflow", "ok", f"{told} answers")


def _champions(file: Path) -> int:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as base:
        wanted = "SELECT count(*) FROM registered_model_aliases WHERE alias = ?"
        return int(base.execute(wanted, (CHAMPION,)).fetchone()[0])


@dataclass(frozen=True)
class Access:
    """What a server is asked with, as its own clients would.

    Attributes:
        login: the header that says who asks; empty: nobody.
        authority: a file with the certificates that are trusted; empty: those that the system trusts.
    """

    login: str = ""
    authority: str = ""


def _of_mlflow() -> Access:
    told = {name: os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in ("USERNAME", "PASSWORD", "TOKEN")}
    user = f"{told['USERNAME']}:{told['PASSWORD']}" if told["USERNAME"] else ""
    return Access(_login(user, told["TOKEN"]), os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH", ""))


def _of_prefect() -> Access:
    login = _login(os.environ.get("PREFECT_API_AUTH_STRING", ""), os.environ.get("PREFECT_API_KEY", ""))
    return Access(login, os.environ.get("PREFECT_API_SSL_CERT_FILE", ""))


def _login(user: str, token: str) -> str:
    if user:
        return f"Basic {base64.b64encode(user.encode()).decode()}"
    return f"Bearer {token}" if token else ""


def _asked(url: str, access: Access) -> str:
    """Return the beginning of what a server answers."""
    request = urllib.request.Request(url, headers={"Authorization": access.login} if access.login else {})
    trust = ssl.create_default_context(cafile=access.authority) if access.authority else None
    with urllib.request.urlopen(request, timeout=PATIENCE, context=trust) as answer:
        told: bytes = answer.read(200)
    return told.decode("utf-8", "replace").strip()


def _server(topic: str, url: str, *, shown: str, own: str | None = None, access: Access | None = None) -> Finding:
    """Ask a server, whose address may hold a password that is not to be shown."""
    place = shown if "@" not in shown else f"{urlsplit(shown).scheme}://{urlsplit(shown).hostname}"
    try:
        told = _asked(url, access or Access())
    except HTTPError as error:
        if error.code in (401, 403):
            refused = "refuses the login" if access is not None and access.login else "asks for a login"
            return Finding(topic, "note", f"{place} {refused}", "set its user and password, or token")
        return Finding(topic, "problem", f"{place} answers {error.code} {error.reason}", "is it the right address?")
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Finding(topic, "problem", f"{place} does not answer ({reason})", "start it (`make up`), or name another")
    if own is not None and told and told != own:
        return Finding(topic, "note", f"{place} is version {told[:20]}, the client {own}", "use one version for both")
    return Finding(topic, "ok", place)


def _reached(main: Path, name: str, url: str) -> Finding:
    told = f"remote {name}: {url}"
    if not url:
        return Finding("dvc", "problem", f"remote {name} has no URL", f"dvc remote add -f -d {name} URL")
    if "://" in url:
        return _elsewhere(url, told)
    folder = (main / ".dvc" / url).resolve()
    if not folder.is_dir():
        return Finding(
            "dvc", "problem", f"{told}, where there is no folder", "mount it, or name another: `dvc remote list`"
        )
    if not os.access(folder, os.W_OK):
        return Finding("dvc", "note", f"{told}, which cannot be written to", "`dvc pull` works, `dvc push` does not")
    return Finding("dvc", "ok", told)


def _elsewhere(url: str, told: str) -> Finding:
    """Look whether the library for a remote is there, and for plain HTTP whether it answers."""
    import fsspec

    scheme = urlsplit(url).scheme
    try:
        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        return Finding(
            "dvc", "problem", f"{told}: {error}", f"pip install 'dvc[{'ssh' if scheme == 'sftp' else scheme}]'"
        )
    if scheme in ("http", "https"):
        return _server("dvc", url, shown=url)
    return Finding("dvc", "ok", f"{told}, which was not asked; `dvc status --cloud` asks it")


def _held(lock: Path) -> bool:
    """Tell whether another process holds a lock file; it is neither written to nor made."""
    try:
        import fcntl

        with lock.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return False
