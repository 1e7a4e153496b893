"""``python -m benchmarks``."""

import sys

if __name__ == "__main__":  # not in a contender's process, which imports this module, too
    from benchmarks.cli import main

    sys.exit(main())
