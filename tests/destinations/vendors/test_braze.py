from engage_pipelines.destinations.braze import Braze
from engage_pipelines.testing.vendor_conformance import VendorConformance


class TestBraze(VendorConformance):
    destination = Braze()
