# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The command `python -m data_scripts.relation_quality`: see `data_scripts/descriptions/quality.py`."""

from data_scripts.descriptions.quality import main

if __name__ == "__main__":
    main()
