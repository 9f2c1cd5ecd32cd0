"""Tells ``twistd`` that there is a ``resourced`` and where to find it."""

from twisted.application.service import ServiceMaker

serviceMaker = ServiceMaker(
    "resourced", "resourced.tap", "Share named things over HTTP: locks, queues, leases, data.", "resourced"
)
