# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The command `python -m data_scripts.mnre`: see `data_scripts/converters/mnre.py`."""

from data_scripts.converters.mnre import main

if __name__ == "__main__":
    main()
