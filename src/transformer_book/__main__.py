"""``python -m transformer_book`` is the command ``transformer-book``; torchrun starts it under this name."""

import sys

from transformer_book.cli import main

if __name__ == "__main__":
    sys.exit(main())
