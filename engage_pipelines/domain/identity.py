"""Who is who: the merging of profiles by alias.

A user id that was aliased belongs to the profile it was aliased into, and that one to the profile it was aliased into later, to the end
of the chain. Edges count in the order of their instants, then of their message ids, so that the order of arrival never matters; an edge
inside one profile (a repetition, a cycle) says nothing new. Anonymous ids belong to the first user they were seen with and never merge
two users; e-mail addresses merge nobody.
"""

from collections.abc import Iterable


def merge_aliases(edges: Iterable[tuple[int, int]]) -> dict[int, int]:
    """For each profile that lost its own: the one it belongs to. `edges` are (from, into), the earliest first."""
    parents: dict[int, int] = {}
    for source, target in edges:
        lost, final = _final(parents, source), _final(parents, target)
        if lost != final:
            parents[lost] = final
    return {profile: _final(parents, profile) for profile in list(parents)}


def _final(parents: dict[int, int], profile: int) -> int:
    final = profile
    while final in parents:
        final = parents[final]
    while profile != final:
        parents[profile], profile = final, parents[profile]
    return final
