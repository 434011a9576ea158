"""Prints the licences of every crate in the binary, each text once.

usage: third_party.py > THIRD-PARTY.txt     in a clone of mixflow
"""

import json
import pathlib
import subprocess

COMMAND = ["cargo", "metadata", "--format-version", "1", "--locked"]
TREE = ["cargo", "tree", "--locked", "-p", "mixflow-cli", "-e", "normal", "--prefix", "none", "-f", "{p}"]


def main():
    packages = json.loads(subprocess.check_output(COMMAND))["packages"]
    lines = subprocess.check_output(TREE, text=True).splitlines()
    used = {tuple(line.split()[:2]) for line in lines if line.strip()}
    crates, texts = [], {}
    for package in sorted(packages, key=lambda package: package["name"]):
        name = (package["name"], "v" + package["version"])
        if package["source"] is None or name not in used:
            continue
        crates.append(f"{package['name']} {package['version']}: {package['license'] or 'see below'}")
        folder = pathlib.Path(package["manifest_path"]).parent
        for path in sorted(folder.iterdir()):
            upper = path.name.upper()
            if path.is_file() and upper.startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE")):
                text = path.read_text(errors="replace").strip()
                texts.setdefault(" ".join(text.split()), (text, []))[1].append(package["name"])
    if not crates or not texts:
        raise SystemExit("third_party.py: no licences were found")
    print("mixflow contains these crates, and DuckDB (libduckdb-sys):\n")
    print("\n".join(crates))
    for text, names in texts.values():
        print(f"\n{'=' * 78}\n{', '.join(names)}\n{'=' * 78}\n\n{text}")


main()
