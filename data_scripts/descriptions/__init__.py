# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Relation descriptions: their files, the built-in ones, and tools that write, review and measure them."""
