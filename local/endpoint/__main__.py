"""``python -m local.endpoint``: the server process of all local endpoints."""

import sys

from local.endpoint.server import main

sys.exit(main())
