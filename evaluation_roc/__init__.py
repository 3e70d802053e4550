# Copyright 2026 The ROC authors. Licensed under the Apache License, Version 2.0.
"""What is measured of a model: scores, calibration, zero-shot, robustness, and their reports and pictures."""
