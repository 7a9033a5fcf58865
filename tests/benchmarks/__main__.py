"""`make bench`: figures beside a peer's from the same run, as ratios; nothing here is asserted."""

import sys
from pathlib import Path

from tests.support.campaign import main

sys.exit(main(Path(__file__).parent, "bench", Path("build/bench")))
