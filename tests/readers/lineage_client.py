#!/usr/bin/env python3
"""Takes an OpenLineage event from standard input into OpenLineage's own Python client, class by class, has the
client emit it, and compares what it emits with what came. Prints how many columns have lineage.

What the client does not know (a misspelt member, a value of another type) it refuses. Started by
tests/e2e/openlineage.rs.
"""

import json
import re
import sys
import tempfile
import typing
from enum import Enum

import attr
from openlineage.client import OpenLineageClient
from openlineage.client.generated import (
    base,
    column_lineage_dataset,
    documentation_job,
    job_type_job,
    ownership_job,
    schema_dataset,
)
from openlineage.client.transport.file import FileConfig, FileTransport

FACETS = {
    "jobType": job_type_job.JobTypeJobFacet,
    "documentation": documentation_job.DocumentationJobFacet,
    "ownership": ownership_job.OwnershipJobFacet,
    "schema": schema_dataset.SchemaDatasetFacet,
    "columnLineage": column_lineage_dataset.ColumnLineageDatasetFacet,
}
# What the client writes itself.
OF_CLIENT = {"producer", "schemaURL", "_producer", "_schemaURL"}


def built(kind, data, path):
    """`data` as the class that the client has for it."""
    origin = typing.get_origin(kind)
    if origin is typing.Union or str(origin) == "<class 'types.UnionType'>":
        kinds = [one for one in typing.get_args(kind) if one is not type(None)]
        return built(kinds[0], data, path)
    if origin is list:
        (of,) = typing.get_args(kind)
        return [built(of, item, f"{path}[{place}]") for place, item in enumerate(data)]
    if origin is dict:
        _, of = typing.get_args(kind)
        return {
            name: built(FACETS[name] if path.endswith("acets") else of, item, f"{path}.{name}")
            for name, item in data.items()
        }
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind[data]
    if attr.has(kind):
        known = typing.get_type_hints(kind)
        members = {name: item for name, item in data.items() if name not in OF_CLIENT}
        unknown = members.keys() - known.keys()
        assert not unknown, f"{path}: the client knows no {unknown}"
        return kind(
            **{name: built(known[name], item, f"{path}.{name}") for name, item in members.items()}
        )
    assert isinstance(data, kind), f"{path}: {data!r} is no {kind}"
    return data


def without(data):
    """What is compared: neither what the client says of itself, nor what is empty."""
    if isinstance(data, dict):
        members = {name: without(item) for name, item in data.items() if name not in OF_CLIENT}
        return {name: item for name, item in members.items() if item not in (None, {}, [])}
    if isinstance(data, list):
        return [without(item) for item in data]
    return data


def emitted(event):
    with tempfile.TemporaryDirectory() as folder:
        config = FileConfig(log_file_path=f"{folder}/event.json", append=True)
        OpenLineageClient(transport=FileTransport(config)).emit(event)
        with open(f"{folder}/event.json") as file:
            return json.loads(file.read())


def main():
    came = json.load(sys.stdin)
    base.set_producer(came["producer"])
    event = built(base.RunEvent, came, "event")
    told = emitted(event)
    # It says which version it is.
    del told["run"]["facets"]["tags"]
    assert without(told) == without(came), f"{without(told)}\n{without(came)}"
    for output in came["outputs"]:
        for name, facet in output["facets"].items():
            version = FACETS[name]._get_schema()
            same = re.fullmatch(r".*/(\d+)-\d+-\d+/.*", version)[1]
            assert f"/{same}-" in facet["_schemaURL"], (facet["_schemaURL"], version)
    lineage = [output["facets"]["columnLineage"]["fields"] for output in came["outputs"]]
    print(sum(map(len, lineage)))


main()
