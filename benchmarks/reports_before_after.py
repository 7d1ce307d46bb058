"""What every command reports, recorded before and after a change of the code, and compared.

record DIR runs the cases of reports_cases.py and writes one JSON file for each: exit code, report, texts, and the files
it made. compare OLD NEW gives each case a verdict: equal; added (all is there as before, and more); moved (every number
and text is there, some under other keys); on purpose (what is gone is in the table ON_PURPOSE, with its reason); or
different, and then it ends with 1. Without ../shared there are only the cases that need nothing but the zoo.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from reports_cases import CASES, CLOCK_KEYS, CLOCK_TEXT, EACH, MODELS, MORE_MODELS, NEVER_COMPARED, ON_PURPOSE

from atoll.compiler.inspection import inspect_model
from atoll.errors import AtollError
from atoll.model.tflite import read_model

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
PROCESSES = 2
SECONDS = 300
"""After which a case is stopped."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="run all cases")
    recording.add_argument("directory", type=Path, metavar="DIR")
    recording.add_argument("--atoll", type=Path, default=Path(sys.executable).with_name("atoll"), help="the command")
    recording.add_argument("--only", default="*", metavar="PATTERN", help="of the cases' names")
    comparing = commands.add_parser("compare", help="compare two recordings")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    comparing.add_argument("--text", action="store_true", help="compare standard output and error, too")
    comparing.add_argument("--show", type=int, default=8, metavar="N", help="differences of a case")
    options = parser.parse_args()
    if options.command == "record":
        return record(options.directory, options.atoll.absolute(), options.only)
    return compare(options.old, options.new, options.text, options.show)


# Recording.


def record(target: Path, atoll: Path, only: str) -> int:
    target.mkdir(parents=True, exist_ok=True)
    chosen = {name: line for name, line in cases(DATA.is_dir()).items() if fnmatch(name, only)}
    with tempfile.TemporaryDirectory(prefix="reports-") as folder, ThreadPoolExecutor(PROCESSES) as pool:
        work = Path(folder)
        prepare(work, atoll, "\n".join(chosen.values()))
        for name, result in zip(chosen, pool.map(lambda case: run(work, atoll, case), chosen.items())):
            (target / f"{name}.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    print(f"{len(chosen)} cases are in {target}")
    return 0


def cases(with_data: bool) -> dict[str, str]:
    """Name -> shell line, of those that can be run here."""
    lines = [line.format(key=key, model=path) for key, path in MODELS.items() for line in EACH.strip().splitlines()]
    lines += [line.format(**MODELS, **MORE_MODELS) for line in CASES.strip().splitlines()]
    named = dict(line.split(": ", 1) for line in lines)
    assert len(named) == len(lines), "two cases have one name"
    return {name: line for name, line in named.items() if with_data or not re.search(r"\bdata/|\banimals\b", line)}


def prepare(work: Path, atoll: Path, lines: str) -> None:
    """What the cases read: the networks of the zoo, and pictures in a folder for each class."""
    (work / "zoo").mkdir()
    for name in sorted(set(re.findall(r"\bzoo/([\w.]+)\.tflite", lines))):
        subprocess.run(
            [atoll, "zoo", "build", name, "-o", work / f"zoo/{name}.tflite"], check=True, capture_output=True
        )
    if DATA.is_dir():
        (work / "data").symlink_to(DATA)
        for picture in DATA.glob("models/imprinting/*_train_*.bmp"):
            folder = work / "animals" / picture.name.split("_")[0]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, folder)
    noise = random.Random(0)
    for channel, colour in enumerate(("red", "green", "blue")):
        folder = work / "pictures" / colour
        folder.mkdir(parents=True)
        for index in range(6):
            pixels = bytes(noise.randrange(156) + 100 * (i % 3 == channel) for i in range(3 * 48 * 32))
            (folder / f"{index}.ppm").write_bytes(b"P6 48 32 255\n" + pixels)


def run(work: Path, atoll: Path, case: tuple[str, str]) -> dict[str, Any]:
    """Run one case in a folder, and with settings, of its own."""
    name, line = case
    here = work / "cases" / name
    here.mkdir(parents=True)
    for link in ("zoo", "data", "pictures", "animals"):
        (here / link).symlink_to(work / link)
    settings = work / "settings" / name
    environment = {
        "PATH": f"{atoll.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(settings),
        "ATOLL_LEASE_DIR": str(settings / "leases"),
        "ATOLL_VIRTUAL_TPUS": "pci:4,usb:2",
        "ATOLL_EDGETPU_COMPILER": "none",
        "OPENBLAS_NUM_THREADS": "1",
        "COLUMNS": "120",
        "LC_ALL": "C.UTF-8",
    }
    settings.mkdir(parents=True)
    command = ["timeout", str(SECONDS), "sh", "-c", line]
    ended = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, errors="replace")
    # What the folders of this recording are called is not to be compared.
    hidden = {str(here): "HERE", str(settings): "SETTINGS", str(work): "WORK", str(atoll.parents[1]): "VENV"}
    out, err = (hide(text, hidden) for text in (ended.stdout, ended.stderr))
    report = parsed(out) if "--json" in line else None
    return {
        "command": line,
        "exit": ended.returncode,
        "report": report,
        "stdout": None if report is not None else out.splitlines(),
        "stderr": err.splitlines(),
        "files": {str(path.relative_to(here)): content(path, hidden) for path in made(here)},
    }


def hide(text: str, hidden: Mapping[str, str]) -> str:
    for path, word in hidden.items():
        text = text.replace(path, word)
    return text


def made(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from made(path)
        elif path.is_file():
            yield path


def content(path: Path, hidden: Mapping[str, str]) -> Any:
    """JSON as such, texts as lines, of other files the hash (of compiled ones with the caching tokens set to 0)."""
    if path.suffix in (".json", ".csv", ".log", ".toml", ".txt"):
        text = hide(path.read_text(), hidden)
        return parsed(text) if path.suffix == ".json" else text.splitlines()
    data = path.read_bytes()
    # The token depends on the version, the options and the cuts; what else is in the file must not.
    for token in tokens(path) if path.stem.endswith("_edgetpu") else ():
        data = data.replace(token, bytes(len(token)))
    return hashlib.sha256(data).hexdigest()[:16]


def tokens(path: Path) -> list[bytes]:
    """The caching tokens of a compiled file, as they lie in it; none of a file without custom operators."""
    try:
        return [int(token, 16).to_bytes(8, "little") for token in inspect_model(read_model(path)).tokens]
    except AtollError:
        return []


def parsed(text: str) -> Any:
    """None if it is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return None


# Comparing.


def compare(old: Path, new: Path, with_text: bool, shown: int) -> int:
    names = sorted({path.stem for folder in (old, new) for path in folder.glob("*.json")})
    if not names:
        raise SystemExit(f"there is no recording in {old} and {new}")
    verdicts: Counter[str] = Counter()
    for name in names:
        before, after = (read(folder / f"{name}.json", with_text) for folder in (old, new))
        verdict, details = judge(name, before, after)
        verdicts[verdict] += 1
        if details:
            print(f"{verdict}: {name}", *details[:shown], sep="\n  ")
            print(f"  and {len(details) - shown} more\n" if len(details) > shown else "")
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())), f"of {len(names)} cases")
    return int(bool(verdicts["different"] or verdicts["missing"]))


def read(path: Path, with_text: bool) -> dict[str, Any]:
    """Path within the case -> value, of all that is to be compared; empty if there is no such case."""
    if not path.exists():
        return {}
    case = json.loads(path.read_text())
    keys = set().union(*(keys for pattern, keys in CLOCK_KEYS if fnmatch(path.stem, pattern)))
    lines = [text for pattern, text in CLOCK_TEXT if fnmatch(path.stem, pattern)]
    texts = ("stdout", "stderr") if with_text else ()
    return dict(flat(without_clock({key: case[key] for key in ("exit", "report", "files", *texts)}, keys, lines)))


def without_clock(value: Any, keys: set[str], lines: Sequence[str]) -> Any:
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if key not in NEVER_COMPARED}
        return {key: shape(x) if key in keys else without_clock(x, keys, lines) for key, x in kept.items()}
    if isinstance(value, list):
        return [without_clock(item, keys, lines) for item in value]
    if isinstance(value, str):
        for pattern in lines:
            value = re.sub(pattern, "…", value)
    return value


def shape(value: Any) -> Any:
    """The structure without the values; a list may have any length."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return f"<{type(value).__name__}>"


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, (dict, list)) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from flat(item, f"{path}[{key}]" if isinstance(value, list) else f"{path}.{key}".lstrip("."))
    else:
        yield path, value


def judge(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The verdict on a case, and what is different."""
    if not old or not new:
        return "missing", ["in the old recording" if not old else "in the new recording"]
    gone = {path: value for path, value in old.items() if path not in new or not same(value, new[path])}
    come = {path: value for path, value in new.items() if path not in old or not same(value, old[path])}
    if not gone:
        return ("added", [f"{path}: {short(come[path])} is new" for path in come]) if come else ("equal", [])
    moved, lost = moves(gone, come)
    reasons = dict.fromkeys(reason for path in lost if (reason := why(name, path)))
    if reasons and all(why(name, path) for path in lost):
        return "on purpose", [*reasons]
    details = [f"{path}: {short(gone[path])} {f'-> {short(new[path])}' if path in new else 'is gone'}" for path in lost]
    details += [f"{path} -> {target}: {short(gone[path])}" for path, target in moved.items()]
    return ("different" if lost else "moved"), details


def why(name: str, path: str) -> str:
    """Why that value of that case was changed on purpose; empty if it was not."""
    return next((text for case, value, text in ON_PURPOSE if fnmatch(name, case) and fnmatch(path, value)), "")


def same(old: Any, new: Any) -> bool:
    return type(old) is type(new) and bool(old == new)


def moves(gone: Mapping[str, Any], come: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Where each value went: to a new path that has it and the last key, or else that has it. And what went nowhere.

    Only numbers, texts and ``true`` can be lost: an empty list or a null says nothing without its key. An exit code
    cannot move. Small whole numbers are found everywhere, so they choose last.
    """
    left = dict(come)
    moved, lost = {}, []
    for path, value in sorted(gone.items(), key=lambda item: isinstance(item[1], int)):
        same_value = [key for key, item in left.items() if same(value, item) and key != "exit"]
        same_key = [key for key in same_value if last_key(key) == last_key(path)]
        target = next(iter(same_key or same_value), None)
        if path == "exit" or (target is None and not (value is None or value is False or value in ([], {}, ""))):
            lost.append(path)
        elif target is not None:
            del left[target]
            moved[path] = target
    return moved, lost


def last_key(path: str) -> str:
    return re.sub(r"\[\d+\]", "", path).rpartition(".")[2]


def short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


if __name__ == "__main__":
    raise SystemExit(main())
