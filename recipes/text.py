"""Messages in several languages as recipes/text.yaml reads them: a folder a message, a text file a language.

The data come inside the wheel of plone.app.locales (GPL 2), the translations of a web publishing system, which is read
and not installed:

    pip download --no-deps plone.app.locales==7.0.4
    python recipes/text.py plone_app_locales-7.0.4-py3-none-any.whl messages

Any package with compiled catalogs (`locale/fr/LC_MESSAGES/name.mo`) will do, and any languages.
"""

from __future__ import annotations

import argparse
import gettext
import hashlib
import io
import re
import sys
import zipfile
from collections import defaultdict
from pathlib import Path

LANGUAGES = ("ca", "es", "fr", "it", "pt", "ro")
"""Romance languages, one each: their words for a thing often share most of their letters."""

CATALOG = re.compile(r"/locales?/(\w+)/LC_MESSAGES/(\w+)\.mo$")


def messages(wheel: Path, languages: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Return the translations of each message by language; messages of one language only are left out.

    A message's key is its catalog's name and its id. Plural forms and the catalogs' headers are no messages.
    """
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            member = CATALOG.search(name)
            if member and member[1] in languages:
                for key, text in entries(archive.read(name)).items():
                    found[f"{member[2]}/{key}"][member[1]] = text
    return {key: texts for key, texts in sorted(found.items()) if len(texts) > 1}


def entries(catalog: bytes) -> dict[str, str]:
    """Return the messages of a compiled catalog and their translations."""
    known: dict[str | tuple[str, int], str] = vars(gettext.GNUTranslations(io.BytesIO(catalog)))["_catalog"]
    return {key: text for key, text in known.items() if isinstance(key, str) and key and text.strip()}


def convert(wheel: Path, folder: Path, languages: tuple[str, ...] = LANGUAGES) -> int:
    """Write the messages, in folders named by a hash of their keys; return how many texts there are."""
    found = messages(wheel, languages)
    for key, texts in found.items():
        place = folder / hashlib.sha256(key.encode()).hexdigest()[:12]
        place.mkdir(parents=True, exist_ok=True)
        for language, text in texts.items():
            (place / f"{language}.txt").write_text(text, encoding="utf-8")
    return sum(map(len, found.values()))


def main() -> None:
    """Convert what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("wheel", type=Path, help="the wheel of a package with compiled catalogs")
    parser.add_argument("folder", type=Path, help="where the files go")
    parser.add_argument("languages", nargs="*", default=LANGUAGES, help=f"by default {' '.join(LANGUAGES)}")
    given = parser.parse_args()
    try:
        count = convert(given.wheel, given.folder, tuple(given.languages))
    except (OSError, zipfile.BadZipFile) as error:
        sys.exit(f"{given.wheel}: not a wheel with compiled catalogs: {error}")
    if not count:
        sys.exit(f"{given.wheel}: no message is in two of the languages {' '.join(given.languages)}")
    print(f"{count} texts in {given.folder}")


if __name__ == "__main__":
    main()
