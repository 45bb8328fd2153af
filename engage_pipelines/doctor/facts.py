"""The facts on disk: every manifest can be read, and names files that are there."""

from collections.abc import Iterator

from engage_pipelines.doctor.findings import Finding, fail, ok
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.facts.store import read_manifest
from engage_pipelines.settings import Settings


def look_at_facts(settings: Settings) -> Iterator[Finding]:
    """One finding per space with facts that cannot be read, or one for all."""
    folders = sorted(path.parent for path in settings.facts_dir.glob("*/manifest.json"))
    well = 0
    for folder in folders:
        try:
            tables = read_manifest(folder).tables
        except EngageError as error:
            yield fail("facts", error.what, error.remedy)
            continue
        missing = [name for names in tables.values() for name in names if not (folder / name).is_file()]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            yield fail("facts", f"{folder / missing[0]}{more} is named by the manifest, and is gone.", "Bring it back from a backup.")
            continue
        well += 1
    if well == len(folders):
        spaces = ", ".join(folder.name for folder in folders)
        yield ok("facts", f"the manifests of {spaces} and their files are there" if folders else "nothing was ingested yet")
