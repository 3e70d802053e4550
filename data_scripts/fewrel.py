# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The command `python -m data_scripts.fewrel`: see `data_scripts/converters/fewrel.py`."""

from data_scripts.converters.fewrel import main

if __name__ == "__main__":
    main()
