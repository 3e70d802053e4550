# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""From posts to a knowledge graph, by a trained model: what `extract.py` does, in parts."""
