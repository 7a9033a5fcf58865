"""`make soak`: long campaigns against faults and hostile bytes; each stops by itself."""

import sys
from pathlib import Path

from tests.support.campaign import main

sys.exit(main(Path(__file__).parent, "soak", Path("build/soak")))
