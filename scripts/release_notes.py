"""Print the notes of a release: `release_notes.py v0.1.0` prints the section of that version in CHANGELOG.md.

Exit code 1, with one line that says why, when there is no such section, when it still says "(unreleased)", or when a
package has another version.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def notes(version: str, changelog: str) -> str:
    """Return the text of a version's section, without its heading; SystemExit when the version is not released."""
    for section in re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        if heading.split()[:1] == [version]:
            if "unreleased" in heading:
                raise SystemExit(f"CHANGELOG.md: {version} is not released yet; put the date in place of (unreleased)")
            return text.strip()
    raise SystemExit(f"CHANGELOG.md has no section for {version}")


def package_versions() -> dict[str, str]:
    """Return the version of each package, by its package.xml."""
    found = {}
    for path in sorted((ROOT / "src").glob("*/package.xml")):
        version = re.search(r"<version>(.+?)</version>", path.read_text())
        found[path.parent.name] = version[1] if version else ""
    return found


def main() -> None:
    """Print the notes of the version that is the only argument."""
    version = sys.argv[1].removeprefix("v")
    text = notes(version, (ROOT / "CHANGELOG.md").read_text())
    others = [f"{name} is {found}" for name, found in package_versions().items() if found != version]
    if others:
        raise SystemExit(f"package.xml: {', '.join(others)}, not {version}")
    print(text)


if __name__ == "__main__":
    main()
