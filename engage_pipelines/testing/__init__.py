"""For people who write or run destinations: a local receiver, a server that fails on purpose, the conformance suite."""

import sys

if "pytest" in sys.modules:  # a test of the suite that fails then shows what it compared
    sys.modules["pytest"].register_assert_rewrite(*(f"{__name__}.{name}" for name in ("answers", "conformance", "vendor_conformance")))
