"""`python -m kimivl.cli`."""

import sys

from kimivl.cli import main

sys.exit(main())
