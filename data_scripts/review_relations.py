# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""The command `python -m data_scripts.review_relations`: see `data_scripts/descriptions/review.py`."""

from data_scripts.descriptions.review import main

if __name__ == "__main__":
    main()
