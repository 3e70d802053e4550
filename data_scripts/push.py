# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The command `python -m data_scripts.push`: see `data_scripts/converters/push.py`."""

from data_scripts.converters.push import main

if __name__ == "__main__":
    main()
