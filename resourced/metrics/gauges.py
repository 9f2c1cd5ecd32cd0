"""What can be read of the daemon at any moment, for its metrics."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import version

from resourced.config import Config
from resourced.events.push import Streams
from resourced.http.site import ResourcedSite
from resourced.locks.manager import LockManager
from resourced.metrics.collect import Gauge, Gauges
from resourced.model import Weight
from resourced.storage.sql.executor import Database


def gauges_of(
    config: Config,
    site: ResourcedSite,
    locks: LockManager,
    streams: Streams,
    database: Database,
    serving: Callable[[], bool],
    history: Callable[[], Weight],
) -> Gauges:
    """
    Name all that can be read, each limit beside what it limits.

    :param history: tells what the events take that are kept.
    """
    build = {"version": version("resourced"), "twisted": version("twisted"), "python": platform.python_version()}
    gauges = [
        Gauge(
            "resourced_serving", "Whether this daemon serves its store, rather than wait for it, or stand by.", serving
        ),
        Gauge(
            "resourced_store_up",
            "Whether the database did its work when it was last asked.",
            lambda: database.fault() is None,
        ),
        Gauge("resourced_connections", "Open connections.", lambda: site.connections),
        Gauge(
            "resourced_connections_limit",
            "The most that there may be: RESOURCED_MAX_CONNECTIONS.",
            lambda: config.max_connections,
        ),
        Gauge(
            "resourced_addresses_full",
            "Addresses, and /64 networks of IPv6, that have as many connections as they may: RESOURCED_MAX_PEER_CONNECTIONS.",
            lambda: site.peers.full,
        ),
        Gauge("resourced_requests_busy", "Requests that are being answered.", lambda: site.busy),
        Gauge(
            "resourced_requests_busy_limit",
            "The most that there may be: RESOURCED_MAX_REQUESTS.",
            lambda: config.max_requests,
        ),
        Gauge("resourced_requests_waiting", "Requests that are open and wait for others.", lambda: site.waiting),
        Gauge(
            "resourced_buffered_bytes",
            "Bytes of bodies and of answers that are in memory.",
            lambda: site.budget.used,
        ),
        Gauge(
            "resourced_buffered_bytes_limit",
            "The most that there may be: RESOURCED_MAX_BUFFERED.",
            lambda: config.max_buffered,
        ),
        Gauge("resourced_streams", "Clients that follow the events.", lambda: streams.count),
        Gauge(
            "resourced_streams_limit",
            "The most that there may be: RESOURCED_MAX_STREAMS.",
            lambda: config.max_streams,
        ),
        Gauge("resourced_locks_held", "Locks that somebody holds.", lambda: locks.held),
        Gauge(
            "resourced_locks_held_limit", "The most that there may be: RESOURCED_MAX_LOCKS.", lambda: config.max_locks
        ),
        Gauge(
            "resourced_oldest_hold_seconds",
            "For how long the lock is held that is held for the longest; 0 if none is.",
            locks.listing.oldest_hold,
        ),
        Gauge("resourced_tickets_waiting", "Tickets that wait for a lock.", lambda: locks.waiting),
        Gauge(
            "resourced_tickets_waiting_limit",
            "The most that there may be: RESOURCED_MAX_WAITING.",
            lambda: config.max_waiting,
        ),
        Gauge(
            "resourced_oldest_wait_seconds",
            "For how long the ticket has waited that waits for the longest; 0 if none does.",
            locks.listing.oldest_wait,
        ),
        Gauge(
            "resourced_database_work_pending",
            "Pieces of work of the database that are under way or in line.",
            lambda: database.pending,
        ),
        Gauge(
            "resourced_database_work_pending_limit",
            "The most that there may be: RESOURCED_MAX_PENDING.",
            lambda: config.max_pending,
        ),
        Gauge(
            "resourced_events_kept",
            "Events that are kept in the database, as far as they have been counted.",
            lambda: history().events,
        ),
        Gauge(
            "resourced_events_kept_limit",
            "The most that there may be: RESOURCED_EVENTS_MAX.",
            lambda: config.events_max,
        ),
        Gauge(
            "resourced_events_kept_bytes",
            "Bytes that these take in the database, more or less.",
            lambda: history().size,
        ),
        Gauge(
            "resourced_events_kept_bytes_limit",
            "The most that there may be: RESOURCED_EVENTS_MAX_BYTES.",
            lambda: config.events_max_bytes,
        ),
    ]
    return Gauges(build, gauges)
