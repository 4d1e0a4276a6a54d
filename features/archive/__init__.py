"""The event archive: Parquet by day of arrival, in files named by partition and range of arrival, written whole.

A location is a folder or a URL of any file system that fsspec speaks to; all functions take one.
"""

from features.archive.compaction import compact as compact
from features.archive.cutting import cut as cut
from features.archive.erasing import erase as erase
from features.archive.naming import File as File
from features.archive.places import ArchiveError as ArchiveError
from features.archive.places import Location as Location
from features.archive.reading import archived_until as archived_until
from features.archive.reading import count as count
from features.archive.reading import files as files
from features.archive.reading import read as read
from features.archive.reading import version as version
from features.archive.tables import IMPORTED as IMPORTED
from features.archive.tables import SCHEMA as SCHEMA
from features.archive.tables import Entry as Entry
from features.archive.tables import entry as entry
from features.archive.tables import tabulate as tabulate
from features.archive.writing import write as write
