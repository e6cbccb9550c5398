"""``python -m scripts.gpu_check``."""

import sys

from scripts.gpu_check.command import main

sys.exit(main())
