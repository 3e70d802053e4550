# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The command `python -m data_scripts.more`: see `data_scripts/converters/more.py`."""

from data_scripts.converters.more import main

if __name__ == "__main__":
    main()
