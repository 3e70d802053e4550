# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The command `python -m data_scripts.umre`: see `data_scripts/converters/umre.py`."""

from data_scripts.converters.umre import main

if __name__ == "__main__":
    main()
