"""The asset of the syncs of an audience or a trait: a partition per connected destination, four ops that bring it up to date.

Account traits go first, as Group records, then Identify and Track records per user; each op is one bounded piece of work on the connection.
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from engage_pipelines.orchestration import translator, work
from engage_pipelines.orchestration.catalog import Entry

_NOTHING = dg.Out(dg.Nothing)


def partitions(space: str, key: str) -> dg.DynamicPartitionsDefinition:
    """The destinations connected to an audience or a trait."""
    return dg.DynamicPartitionsDefinition(name=translator.partitions_name(space, key))


@dg.op(ins={"audience": dg.In(dg.Nothing)}, out=_NOTHING, required_resource_keys={work.RESOURCE})
def plan(context: dg.OpExecutionContext) -> None:
    """Works out what the destination is owed: who entered, who left, whose value changed, what was refused before."""
    with work.told_in_words():
        planned = context.resources.work.plan(_place(context), _run(context))
    context.add_output_metadata(
        {**_aimed_at(planned.version), **{f"{level.capitalize()}s to tell about": number for level, number in sorted(planned.owed.items())}}
    )


@dg.op(ins={"planned": dg.In(dg.Nothing)}, out=_NOTHING, required_resource_keys={work.RESOURCE})
def group_records(context: dg.OpExecutionContext) -> None:
    """Tells the destination about accounts: one Group record for each that entered, left or has another value."""
    _send(context, "account")


@dg.op(ins={"accounts": dg.In(dg.Nothing)}, out=_NOTHING, required_resource_keys={work.RESOURCE})
def user_records(context: dg.OpExecutionContext) -> None:
    """Tells the destination about users: an Identify, a Track or both for each that entered, left or has another value."""
    _send(context, "user")


@dg.op(ins={"users": dg.In(dg.Nothing)}, out={"result": _NOTHING, "accepted": _NOTHING}, required_resource_keys={work.RESOURCE})
def settle(context: dg.OpExecutionContext) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
    """Writes down what the destination now holds, and what it refused."""
    with work.told_in_words():
        report = context.resources.work.settle(_place(context), _run(context))
    yield dg.Output(None, "result", metadata=settled_metadata(report))
    yield _judge(context.assets_def.key, report)


def sync_asset(entry: Entry, *, prefix: translator.Prefix = (), console_url: str = "") -> dg.AssetsDefinition:
    """The syncs of one audience or trait."""
    key = translator.sync_key(entry.space, entry.key, prefix)
    destinations = partitions(entry.space, entry.key)

    def deliver(audience: Any) -> Mapping[str, Any]:
        settled, accepted = settle(user_records(group_records(plan(audience))))
        return {"result": settled, f"{key.to_python_identifier()}_{translator.ACCEPTED_CHECK}": accepted}

    with warnings.catch_warnings():
        # partitioned checks are marked as a preview in 1.13: one result per destination, instead of the last one's for all
        warnings.simplefilter("ignore", dg.PreviewWarning)
        check = dg.AssetCheckSpec(
            translator.ACCEPTED_CHECK,
            asset=key,
            partitions_def=destinations,
            description="The destination took every record of the last sync.",
        )
    return dg.graph_asset(
        key=key,
        ins={"audience": dg.AssetIn(key=translator.computation_key(entry.space, entry.kind, entry.key, prefix), dagster_type=dg.Nothing)},
        partitions_def=destinations,
        check_specs=[check],
        group_name=translator.group_name(entry.space),
        description=f"{entry.name}, in every connected destination. Each partition is one destination.",
        metadata=translator.console_metadata(console_url, entry),
        tags=translator.computation_tags(entry),
        owners=translator.owners(entry.space),
        kinds={"sync"},
    )(deliver)


def settled_metadata(report: work.Settled) -> Mapping[str, Any]:
    """What the page of a sync shows: counts by call as numbers, so that Dagster plots them."""
    told = translator.told(report.counts)
    return {
        **_aimed_at(report.version),
        "Records sent": sum(told.values()),
        **{f"{call.capitalize()} records sent": number for call, number in sorted(told.items())},
        "Records refused": report.dead_letters,
        "Records to retry": report.waiting,
        "Members without an identifier": report.skipped,
        "More is owed": report.more_owed,
    }


def _aimed_at(version: int | None) -> Mapping[str, Any]:
    """A connection that leaves aims at no version of its audience."""
    return {"Leaving": True} if version is None else {"Version": version}


def _send(context: dg.OpExecutionContext, level: str) -> None:
    with work.told_in_words():
        counts = context.resources.work.send(_place(context), level, _run(context)).counts
    context.add_output_metadata({f"{call.capitalize()} records sent": number for call, number in sorted(translator.told(counts).items())})


def _place(context: dg.OpExecutionContext) -> work.Place:
    space, audience = translator.space_and_audience(context.assets_def.key)
    return work.Place(space, audience, context.partition_key)


def _run(context: dg.OpExecutionContext) -> work.Run:
    return translator.run_of(context.run, context.log.info)


def _judge(key: dg.AssetKey, report: work.Settled) -> dg.AssetCheckResult:
    refused = report.dead_letters
    return dg.AssetCheckResult(
        passed=refused == 0,
        severity=dg.AssetCheckSeverity.WARN,
        check_name=translator.ACCEPTED_CHECK,
        asset_key=key,
        description=None if refused == 0 else f"{refused} records were refused and kept: look at the dead letters, mend, and replay them.",
        metadata={"Records refused": refused},
    )
