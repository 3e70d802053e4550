# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The command `python -m data_scripts.describe_relations`: see `data_scripts/descriptions/generate.py`."""

from data_scripts.descriptions.generate import main

if __name__ == "__main__":
    main()
