"""
One server, put together: the locks, the routes and the HTTP edge over a store.

``tap`` adds a database, a port and the service around them. ``testing`` and the tests add a store in memory. All of them serve what
``assemble`` returns, so that a test sees what runs in production.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from resourced.api.admin import Steering
from resourced.api.base import ResourceAPI
from resourced.api.cluster import Clustered
from resourced.api.dispatch import Dispatch
from resourced.api.history import History
from resourced.api.key import KeyShown
from resourced.api.listing import Listed
from resourced.api.locking import Published
from resourced.api.merging import Merging
from resourced.api.metrics import Scrape
from resourced.api.openapi import Described
from resourced.api.owners import Groups
from resourced.api.passing import Passing
from resourced.api.pools import Pooling
from resourced.api.standby import Standby
from resourced.api.ui import Displayed
from resourced.api.usage import Used
from resourced.auth.keys import Keys, Permission, key_of
from resourced.cluster.alone import Alone
from resourced.cluster.interface import Ownership
from resourced.cluster.membership import Membership
from resourced.cluster.node import Engine, Node
from resourced.config import Config
from resourced.errors import EpochLost, NotAuthorized, StoreUnavailable
from resourced.events.feed import Feed
from resourced.events.gathering import Gathering
from resourced.events.push import Streams
from resourced.http.access_log import SHOWN
from resourced.http.edge import Gate
from resourced.http.fast.connection import FastSite
from resourced.http.fast.internals import Sockets
from resourced.http.limits import EdgeLimits
from resourced.http.site import ResourcedSite
from resourced.locks.journal.group_commit import GroupCommitJournal
from resourced.locks.journal.listeners import Listeners
from resourced.locks.manager import LockManager
from resourced.locks.state.limits import Limits, Predecessor, Times
from resourced.locks.state.pauses import Pauses
from resourced.locks.state.record import ids_from
from resourced.locks.state.territory import Territory
from resourced.locks.state.tickets import Names
from resourced.metrics.collect import Metrics
from resourced.metrics.render import Exposition
from resourced.model import Event
from resourced.passing.peers import Peers
from resourced.quotas import CONNECTIONS, Quota, Quotas
from resourced.storage.cached_store import CachedStore
from resourced.storage.interface import Store
from resourced.storage.leader_lease import LEADER_LEASE, LeaderLease
from resourced.storage.nodes import NodeStore


def _at_once(work: Callable[[], None]) -> None:
    work()


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """
    What a server takes from its process, besides its settings and its store. A test gives it a clock of its own.

    :ivar clock: what all timers run by.
    :ivar edge_clock: what the timers of connections run by, if they outlive this server.
    :ivar elapsed: seconds that also pass while the machine is suspended.
    :ivar leadership_lost: called once when another daemon has taken over the store.
    :ivar wall: the seconds of Unix time.
    :ivar new_ticket: draws a ticket that nobody can guess. Nothing may fork any more once it was called.
    :ivar soon: calls a function when all that has arrived has been decided, so that it is committed as one group.
    :ivar leader_lease: for how many seconds after a commit this is the one writer.
    :ivar predecessor_lease: for how many seconds an earlier daemon may go on telling clients what it knew.
    :ivar node_store: the rows of all nodes, if this is one of a cluster.
    :ivar ownership: which node owns what, if that does not follow from these.
    :ivar peers: the other nodes, if there may be any.
    :ivar fault: what is wrong with the store, if that is known; asked with the number of seconds within which it was seen, or without.
    """

    clock: IReactorTime
    edge_clock: IReactorTime | None = None
    elapsed: Callable[[], float]
    leadership_lost: Callable[[EpochLost], None]
    wall: Callable[[], float] = time.time
    new_ticket: Callable[[], str] = field(default_factory=lambda: Names(os.urandom).draw)
    soon: Callable[[Callable[[], None]], object] = _at_once
    leader_lease: float = LEADER_LEASE
    predecessor_lease: float = 0.0
    node_store: NodeStore | None = None
    ownership: Ownership | None = None
    peers: Peers | None = None
    fault: Callable[..., StoreUnavailable | None] = lambda _within=None: None


@dataclass(frozen=True, kw_only=True)
class Locking:
    """
    The locks of a server, and what keeps them.

    :ivar store: as the server sees it: the one that was given, behind what it remembers of it.
    :ivar ownership: which node owns what.
    :ivar node: this one, if there are others.
    :ivar gathering: what brings the feed the events of all nodes, if there are others.
    """

    store: Store
    keys: Keys
    quotas: Quotas
    lease: LeaderLease
    feed: Feed
    journal: GroupCommitJournal
    pauses: Pauses
    locks: LockManager
    streams: Streams
    ownership: Ownership
    node: Node | None
    gathering: Gathering | None


@dataclass(frozen=True, kw_only=True)
class Server:
    """
    A server that lacks only what is below its store and above its site.

    :ivar api: all its routes.
    :ivar passing: what lets other nodes answer, if there may be any.
    :ivar leaf: what answers a request. Until it is served, the site answers as a daemon that stands by.
    """

    locking: Locking
    exposition: Exposition
    api: ResourceAPI
    passing: Passing | None
    leaf: IResource
    site: ResourcedSite


def assemble_locking(
    config: Config,
    around: Surroundings,
    store: Store,
    metrics: Metrics,
    together: Callable[[Callable[[], None]], None] = _at_once,
) -> Locking:
    """
    Put together what decides and keeps the locks, and what tells of them.

    :param together: calls a function that answers many clients, and has their answers sent when it is done.
    """
    durable, clock = not config.volatile_locks, around.clock
    lease = LeaderLease(around.elapsed, around.leader_lease)

    def territory() -> Territory:
        return locks.territory

    if not config.reference_path:
        store = CachedStore(store, clock, lease, owned=territory if config.cluster else None)
    since = 0 if durable else ids_from(int(around.wall() * 1000))
    feed = Feed(clock, store, kept=config.events_keep > 0 and durable, since=since)
    journal = GroupCommitJournal(
        clock,
        store,
        leadership_lost=around.leadership_lost,
        durable=durable,
        lease=lease,
        history=config.events_keep > 0,
        listeners=(
            Listeners(to_all([feed.happened, metrics.happened]), metrics.commit, feed.resumed, together)
            if around.node_store is None
            # What this node does is gathered from the store with what the others do.
            else Listeners(metrics.happened, metrics.commit, lambda _: None, together)
        ),
        soon=around.soon,
    )
    pauses = Pauses(clock.seconds)
    whole = Quota(config.max_locks, config.max_waiting, config.max_streams, max_queue=config.max_queue)
    keys = Keys(config.resource_read, config.resource_read_lock, config.resource_write, whole)
    quotas = Quotas(clock.seconds, keys.quota, metrics.refused)
    locks = LockManager(
        clock,
        journal,
        new_ticket=around.new_ticket,
        times=Times(lease=config.lease, place=config.place, claim=config.claim),
        limits=Limits(
            queue=config.max_queue, waiting=config.max_waiting, locks=config.max_locks, units=config.max_units
        ),
        quotas=quotas,
        predecessor=Predecessor(around.predecessor_lease, since),
        wall=around.wall,
        pauses=pauses,
    )
    node = None
    if around.node_store is not None:
        node = Node(clock, Engine(around.node_store, locks.shares, journal, lease), Membership())
    return Locking(
        store=store,
        keys=keys,
        quotas=quotas,
        lease=lease,
        feed=feed,
        journal=journal,
        pauses=pauses,
        locks=locks,
        streams=Streams(config.max_streams, quotas),
        ownership=around.ownership or node or Alone(),
        node=node,
        gathering=Gathering(clock, store, feed) if node is not None else None,
    )


def assemble(config: Config, around: Surroundings, store: Store, metrics: Metrics | None = None) -> Server:
    """
    Put a server together; nothing is opened and nothing asked of the store.

    :param store: what the server keeps its data and its places in.
    :param metrics: what counts, if something below the store counts too.
    """
    metrics = metrics or Metrics()
    sockets = Sockets()
    locking = assemble_locking(config, around, store, metrics, sockets.together)
    parts = (locking.keys, locking.store, locking.locks)
    exposition = Exposition(metrics)
    scrape = Scrape(*parts, exposition, free=config.open_metrics)
    passing = passing_on(config, around, store, locking, metrics)
    api = ResourceAPI(
        Published(*parts, longest_wait=config.max_wait, usual_wait=config.default_wait, fault=around.fault),
        Pooling(*parts, longest_wait=config.max_wait, usual_wait=config.default_wait, usual_lease=config.lease),
        Steering(*parts),
        Listed(*parts),
        Described(),
        scrape,
        History(
            *parts,
            feed=locking.feed,
            streams=locking.streams,
            clock=around.clock,
            reach=locking.gathering.reach if locking.gathering else None,
        ),
        Used(*parts),
        KeyShown(*parts),
        Clustered(*parts, ownership=locking.ownership, clock=around.clock),
        Displayed(),
        **around_of(passing, around, locking),
        fault=around.fault,
    )
    site_of: Callable[..., ResourcedSite] = (
        ResourcedSite if config.reference_path else partial(FastSite, sockets=sockets)
    )
    leaf_of = _reference_path if config.reference_path else Dispatch
    site = site_of(
        Standby(leaf_of(ResourceAPI(scrape))),
        around.edge_clock or around.clock,
        EdgeLimits(
            max_body=config.max_body,
            request=config.request_deadline,
            connections=config.max_connections,
            peer_connections=config.max_peer_connections,
            requests=config.max_requests,
            buffered=config.max_buffered,
        ),
        metrics.request,
        gate=gate_of(locking.keys),
        proxies=config.trusted_proxies,
        crowded=lambda: metrics.refused(CONNECTIONS),
        shown=SHOWN[config.access_log],
    )
    return Server(locking=locking, exposition=exposition, api=api, passing=passing, leaf=leaf_of(api), site=site)


def passing_on(
    config: Config, around: Surroundings, store: Store, locking: Locking, metrics: Metrics
) -> Passing | None:
    """
    Return what lets other nodes answer what is theirs; nothing, where there is no other.

    :param store: asked for what other nodes may change, so without what this one remembers of it.
    """
    if around.peers is None:
        return None
    return Passing(
        around.clock,
        locking.keys,
        locking.quotas,
        Groups(store),
        locking.ownership,
        around.peers,
        longest_wait=config.max_wait,
        usual_wait=config.default_wait,
        count=metrics.between_nodes,
    )


def around_of(passing: Passing | None, around: Surroundings, locking: Locking) -> dict[str, Any]:
    """Say what stands before the routes: nothing, where there is no other node."""
    if passing is None or around.peers is None:
        return {}
    merging = Merging(locking.ownership, around.peers)
    return {
        "around": lambda label, methods, handler: passing.around(
            label, methods, merging.around(label, methods, handler)
        )
    }


def _reference_path(api: ResourceAPI) -> IResource:
    """Leave the way from a request to the handler of its route to Klein."""
    return api.app.resource()


def gate_of(keys: Keys) -> Gate:
    """Let a body be read only if its request has a key that is known, whatever that may do."""

    def gate(x_api_key: Sequence[bytes], authorization: Sequence[bytes]) -> NotAuthorized | None:
        try:
            keys.authorize(key_of(x_api_key, authorization), Permission(0))
        except NotAuthorized as error:
            return error
        return None

    return gate


def to_all(listeners: Sequence[Callable[[Sequence[Event]], object]]) -> Callable[[Sequence[Event]], None]:
    """Let several be told what has happened."""

    def tell(events: Sequence[Event]) -> None:
        for listener in listeners:
            listener(events)

    return tell
