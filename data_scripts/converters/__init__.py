# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""From the raw files of published data sets, or people's own, to rows of one schema."""
