# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""Converters from published raw files to one data set schema, entity typing, and relation descriptions."""
