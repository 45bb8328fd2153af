"""A deterministic simulation of the sync protocol: the product's own rules in a world of seeded misfortune.

`python -m engage_pipelines.testing.simulate --seeds 0:1000` plays histories and prints those that break a promise.

    people    who is a member under which address, and the versions that are published of it
    store     the database of one connection, with fencing
    tables    the same in the product's own tables on SQLite or PostgreSQL, moved by its own transactions
    outside   the network and the destination, which checks every request as it comes
    owner     one run at the connection, as a generator: every `yield` is a place to die or to be overtaken
    checks    what must be true whenever the base moves, and at rest
    history   the scheduler: a seed becomes a history
    steady    worlds without faults but with a new version after every generation, for what must not starve
    late      worlds in which an owner dies over a request that takes effect late, for how long the next one waits
    rules     the product's functions as the simulation calls them, and each with one rule left out
"""
